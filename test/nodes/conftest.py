"""A recording of the simulated room and its map, made once for all node tests that need them."""

from pathlib import Path

import pytest
from mapped_room import SIMULATION

from visloc_ros.simulation import simulate, write_folder


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SIMULATION, "map"), folder)
    return folder


@pytest.fixture(scope="session")
def room_map(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from visloc_ros.mapping import MappingConfig, build_map
    from visloc_ros.sources import open_source

    source = open_source(recording)
    path = tmp_path_factory.mktemp("maps") / "room"
    build_map(source, path, MappingConfig(), reference_poses=source.ground_truth)
    return path
