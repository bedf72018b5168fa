"""A recording of the simulated room and its map, made for all node tests that need them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mapped_room import SIMULATION

from visloc_ros.core.middleware import PROFILE_VARIABLE
from visloc_ros.simulation import simulate, write_folder

if TYPE_CHECKING:
    from visloc_ros.nodes.interface import NodeInterface


@pytest.fixture(scope="session")
def interfaces() -> list[NodeInterface]:
    """What each node offers, asked of the nodes."""
    from visloc_ros.nodes.interface import list_interfaces

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        gc.freeze()  # what is there already need not be looked through after each node
        try:
            return list_interfaces(Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz")
        finally:
            gc.unfreeze()


@pytest.fixture
def talking_middleware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets Fast DDS print lines in the processes of a test, as it does by itself on a busy computer."""
    profile = tmp_path / "unknown_tag.xml"
    profile.write_text("<profiles><unknown/></profiles>")
    monkeypatch.setenv(PROFILE_VARIABLE, str(profile))


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SIMULATION, "map"), folder)
    return folder


@pytest.fixture(scope="session")
def room_map(recording: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    from visloc_ros.mapping import MappingConfig, build_map
    from visloc_ros.sources import open_source

    source = open_source(recording)
    return made_once("room", lambda path: build_map(source, path, MappingConfig(), reference_poses=source.ground_truth))
