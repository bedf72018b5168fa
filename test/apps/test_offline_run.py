"""A run without ROS over a recording, and the best pose of every frame, also those odometry could not track."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from visloc_command import DEMO_MAP

from visloc_ros.apps import best_estimate as best_estimates
from visloc_ros.apps.best_estimate import MOST_FAILURES, best_estimate, search_missing
from visloc_ros.apps.offline_run import RunConfig, RunListener, run_offline, words_of_tracking
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.map import open_map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    ACCEPTED,
    AnchorPose,
    Frame,
    LoopClosure,
    MapIdentity,
    Reason,
    Rejection,
    State,
    Support,
)
from visloc_ros.evaluation import FrameRecord
from visloc_ros.fusion import FusionConfig
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.sources import open_source

CAMERA = pycolmap.Camera(model="PINHOLE", width=4, height=4, params=[4, 4, 2, 2])
RATE_HZ = 10


def test_the_report_says_how_many_frames_the_followed_points_located():
    outcomes = {"STALE": 3, ACCEPTED.value: 90, "FEW_MATCHES": 7}
    assert words_of_tracking(outcomes) == "followed map points gave 90 of 100 frames a pose (7 FEW_MATCHES, 3 STALE)"
    assert words_of_tracking({ACCEPTED.value: 5}) == "followed map points gave 5 of 5 frames a pose"


def test_loops_are_kept_for_hindsight_whatever_the_fuser_made_of_them():
    listener, loop = RunListener(), LoopClosure(1, 2, Sim3.identity(), np.eye(7))
    listener.on_loop(loop, ACCEPTED)
    listener.on_loop(loop, Rejection(2, Reason.STALE))
    assert listener.measurements.loops == [loop, loop]


def test_a_configuration_file_says_how_the_map_is_searched(prepared_room, tmp_path):
    path, search = prepared_room
    write_folder(simulate(SimulationConfig(duration_s=1.0, rate_hz=10.0), "localize"), tmp_path / "drive")
    source = open_source(tmp_path / "drive")
    (tmp_path / "run.yaml").write_text(f"anchor: {{search: {search}}}\n")
    config = read_config(RunConfig, tmp_path / "run.yaml")
    record = run_offline(open_map(path), source, source.ground_truth, config, SilentProgress())
    assert any(anchor.accepted for anchor in record.anchors)
    stages = {name for anchor in record.anchors for name in anchor.stage_ms}
    assert "global" not in stages
    assert record.config["anchor"]["search"] == search


def pose_at(stamp_ns):
    return SE3(np.eye(3), [stamp_ns / NANOSECONDS, 0.0, 0.0])


def frames(*stamps_s):
    return [Frame(round(t * NANOSECONDS), np.zeros((4, 4), np.uint8), CAMERA) for t in stamps_s]


class Engine:
    """Sees the map from ``seen_s`` on; remembers what it was asked, and near which pose."""

    map_identity = MapIdentity("room", metric=True)

    def __init__(self, seen_s=0.0):
        self.seen_ns, self.asked = round(seen_s * NANOSECONDS), []

    def localize(self, frame, prior=None):
        self.asked.append((frame.stamp_ns / NANOSECONDS, None if prior is None else prior.translation[0]))
        if frame.stamp_ns < self.seen_ns:
            return Rejection(frame.stamp_ns, Reason.FEW_INLIERS)
        return AnchorPose(frame.stamp_ns, pose_at(frame.stamp_ns), np.eye(6), 100, 120, 0.5)


def test_missing_frames_are_searched_near_the_poses_around_them():
    known = {round(t * NANOSECONDS): (pose_at(round(t * NANOSECONDS)), np.eye(6)) for t in (1.0, 1.1)}
    engine = Engine()
    list(search_missing(frames(0.2, 0.7, 0.9, 1.2, 1.9, 2.0), engine, known))
    assert engine.asked == [(0.2, None), (0.7, pytest.approx(1.0)), (0.9, 1.0), (1.2, 1.1), (1.9, None), (2.0, 1.9)]


def test_while_the_map_is_out_of_view_one_frame_a_second_is_searched():
    engine = Engine(seen_s=6.0)
    results = {one.stamp_ns: one for one in search_missing(frames(*np.arange(0, 80) / RATE_HZ), engine, {})}
    asked = [t for t, _ in engine.asked]
    assert asked[: MOST_FAILURES + 1] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 1.4])
    found = [stamp for stamp, result in results.items() if isinstance(result, AnchorPose)]
    assert min(found) <= 6.4 * NANOSECONDS + 10**9
    assert len(found) == sum(stamp >= min(found) for stamp in results)  # once in view, every frame
    assert len(results) == 80


def smoothed_but(monkeypatch, causal, *missing):
    """Smoothing gives all frames a pose but some."""
    poses = {one.stamp_ns: (pose_at(one.stamp_ns), np.eye(6)) for i, one in enumerate(causal) if i not in missing}
    monkeypatch.setattr(best_estimates, "smoothed_poses", lambda *_: poses)


@pytest.fixture
def causal():
    return [FrameRecord(frame.stamp_ns, State.INITIALIZING, None) for frame in frames(*np.arange(6) / RATE_HZ)]


def read(causal, until=6, error=None):
    """The frames once more, and how many of them were read; an error in one."""
    seen = []

    def walk():
        for index, record in enumerate(causal):
            if index == until:
                raise error
            seen.append(index)
            yield frames(record.stamp_ns / NANOSECONDS)[0]

    return walk(), seen


@pytest.mark.parametrize(("missing", "expected"), [((), []), ((2,), [0, 1, 2]), ((1, 4), [0, 1, 2, 3, 4])])
def test_nothing_is_read_that_is_not_searched(monkeypatch, causal, missing, expected):
    smoothed_but(monkeypatch, causal, *missing)
    again, seen = read(causal)
    best = best_estimate(causal, None, again, Engine(), None, FusionConfig())
    assert seen == expected
    assert best.ended_by is None
    assert all(one.map_from_camera is not None for one in best.frames)


@pytest.mark.parametrize("support", list(Support))
def test_a_frame_that_the_map_alone_gave_a_pose_is_not_searched_again(monkeypatch, causal, support):
    smoothed_but(monkeypatch, causal, 0, 1, 2, 3, 4, 5)
    pose, covariance = SE3(np.eye(3), [0.0, 3.0, 0.0]), 0.01 * np.eye(6)
    held = replace(causal[3], state=State.LOCALIZED, map_from_camera=pose, covariance=covariance, support=support)
    again, _ = read(causal)
    best = best_estimate([*causal[:3], held, *causal[4:]], None, again, Engine(), None, FusionConfig())
    keeps = support in (Support.ANCHOR, Support.MAP_TRACKING)
    assert best.frames[3].map_from_camera.is_close(pose) == keeps
    assert best.frames[3].state is State.LOCALIZED or not keeps


@pytest.mark.parametrize("error", [SourceError("broken"), KeyboardInterrupt()])
def test_what_ends_the_second_pass_does_not_cost_the_poses_known_by_then(monkeypatch, causal, error):
    smoothed_but(monkeypatch, causal, 1, 4)
    best = best_estimate(causal, None, read(causal, 3, error)[0], Engine(), None, FusionConfig())
    assert best.ended_by is error
    assert [one.map_from_camera is not None for one in best.frames] == [True, True, True, True, False, True]


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Two seconds of another walk through the demo map's room; odometry needs a part of them to start."""
    folder = tmp_path_factory.mktemp("room") / "walk"
    write_folder(simulate(SimulationConfig(duration_s=2.0, rate_hz=10.0, samples=1), "localize"), folder)
    return folder


def test_all_frames_of_a_short_walk_have_a_pose_and_live_only_the_later_ones(room):
    source, map_ = open_source(room), open_map(DEMO_MAP)
    best = run_offline(map_, source, source.ground_truth, RunConfig(), SilentProgress())
    assert len(best.frames) == len(source)
    assert all(frame.map_from_camera is not None for frame in best.frames)
    errors = [
        np.linalg.norm(frame.map_from_camera.translation - source.ground_truth.nearest(frame.stamp_ns, 0).translation)
        for frame in best.frames
    ]
    assert np.max(errors) < 0.03
    assert not all(frame.odometry_tracked for frame in best.frames)
    live = run_offline(map_, source, source.ground_truth, RunConfig(causal=True), SilentProgress())
    assert sum(frame.map_from_camera is not None for frame in live.frames) < len(source)
