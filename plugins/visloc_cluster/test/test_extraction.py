"""Frames are chosen and described once for each content, by the weights that the task names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from visloc_cluster.mapping.extraction import Origin, extract_tasks, select_task
from visloc_ros.core.errors import ModelError
from visloc_ros.execution.engine import SerialEngine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import TaskRunner
from visloc_ros.mapping import MappingConfig
from visloc_ros.mapping.recordings import Recording
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.sequence import write_folder

CONFIG = MappingConfig.from_mapping({"selection": {"min_motion": 0.0}, "features": {"name": "sift"}})
ROOM = SimulationConfig(width=160, height=120, focal_px=120.0, duration_s=2.0, rate_hz=1.0, samples=1)


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    recording = Recording(tmp_path / "room")
    write_folder(simulate(ROOM), recording.path)
    return Origin(recording, recording.fingerprint(), "room")


def test_a_worker_with_other_weights_than_the_task_names_refuses_it(origin: Origin, tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "work"))
    runner = TaskRunner(SerialEngine(), store)
    [selected] = runner.run([select_task(origin, CONFIG)])
    for weights, stored in (("of another file", 1), ("", 2)):
        tasks = extract_tasks(origin, CONFIG, {"extractor": weights}, store.read(selected), 8)
        if weights:
            with pytest.raises(ModelError, match="has other weights of 'sift'"):
                runner.run(tasks)
        else:
            runner.run(tasks)
        assert len(list((tmp_path / "work").rglob("*.npz"))) == stored


def test_the_place_of_a_recording_is_no_part_of_a_task(origin: Origin, tmp_path: Path) -> None:
    moved = replace(origin, recording=Recording(tmp_path / "elsewhere"))
    assert select_task(moved, CONFIG).key == select_task(origin, CONFIG).key
    assert select_task(replace(origin, fingerprint="other"), CONFIG).key != select_task(origin, CONFIG).key
