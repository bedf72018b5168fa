import numpy as np

from visloc_ros.apps.offline_run import RunConfig, RunListener, run_offline, words_of_tracking
from visloc_ros.core.config import read_config
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.map import open_map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.types import ACCEPTED, LoopClosure, Reason, Rejection
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.sources import open_source


def test_the_report_says_how_many_frames_the_followed_points_located():
    outcomes = {"STALE": 3, ACCEPTED.value: 90, "FEW_MATCHES": 7}
    assert words_of_tracking(outcomes) == "followed map points gave 90 of 100 frames a pose (7 FEW_MATCHES, 3 STALE)"
    assert words_of_tracking({ACCEPTED.value: 5}) == "followed map points gave 5 of 5 frames a pose"


def test_loops_are_kept_for_hindsight_whatever_the_fuser_made_of_them():
    listener, loop = RunListener(), LoopClosure(1, 2, Sim3.identity(), np.eye(7))
    listener.on_loop(loop, ACCEPTED)
    listener.on_loop(loop, Rejection(2, Reason.STALE))
    assert listener.measurements.loops == [loop, loop]


def test_a_configuration_file_says_how_the_map_is_searched(landmark_room, tmp_path):
    write_folder(simulate(SimulationConfig(duration_s=1.0, rate_hz=10.0), "localize"), tmp_path / "drive")
    source = open_source(tmp_path / "drive")
    (tmp_path / "run.yaml").write_text("anchor: {search: landmarks}\n")
    config = read_config(RunConfig, tmp_path / "run.yaml")
    record = run_offline(open_map(landmark_room), source, source.ground_truth, config, SilentProgress())
    assert any(anchor.accepted for anchor in record.anchors)
    stages = {name for anchor in record.anchors for name in anchor.stage_ms}
    assert "recognition" in stages
    assert "global" not in stages
    assert record.config["anchor"]["search"] == "landmarks"
