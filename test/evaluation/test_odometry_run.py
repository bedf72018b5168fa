"""Odometry over frames, timed: what is measured, what is left out of it, and the figures made of it."""

import json

import numpy as np
import pycolmap
import pytest
from synthetic_run import walk

from visloc_ros.core.errors import OutputError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, OdometryPose, OdometryScale, Reason, Rejection
from visloc_ros.evaluation import odometry_run
from visloc_ros.evaluation.decoding import DecodedFrame
from visloc_ros.evaluation.odometry_errors import evaluate_odometry
from visloc_ros.evaluation.odometry_plots import write_odometry_plot
from visloc_ros.evaluation.odometry_run import (
    AtStamps,
    OdometryRecorder,
    OdometryRun,
    TrackedFrame,
    run_odometry,
    with_earlier_poses,
)
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.evaluation.table import odometry_rows

CAMERA = pycolmap.Camera(model="PINHOLE", width=8, height=6, params=[5, 5, 4, 3])
TRUTH = walk(40)


class FakeOdometry:
    """Knows the truth; waits for two frames; loses frames 20 to 24 and starts again."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.frames = []
        self.closed = 0

    def track(self, frame):
        row = len(self.frames)
        self.frames.append(frame)
        if row == self.fails_at:
            raise RuntimeError("broken")
        stages = {"prepare": 1.0, "track": 3.0 if row % 2 else 5.0}
        if row < 2 or 20 <= row < 25:
            return Rejection(frame.stamp_ns, Reason.DEGENERATE_MOTION if row < 2 else Reason.BLURRED, {}, stages)
        keyframe = {"adjust": 20.0} if row % 10 == 0 else {}
        return OdometryPose(frame.stamp_ns, TRUTH.poses[row], int(row >= 25), 100, stage_ms=stages | keyframe)

    def settle(self):
        return {}

    def finish(self):
        return Trajectory(TRUTH.stamps_ns, [SE3(pose.rotation, 2.0 * pose.translation) for pose in TRUTH.poses])

    def close(self):
        self.closed += 1


def decoded(count, step_ns=None):
    image = np.zeros((6, 8), np.uint8)
    stamps = TRUTH.stamps_ns if step_ns is None else np.arange(count) * step_ns
    return [DecodedFrame(Frame(int(stamp), image, CAMERA), 2.5) for stamp in stamps[:count]]


@pytest.fixture(scope="module")
def run():
    return run_odometry(FakeOdometry, decoded(40))


def test_every_frame_is_tracked_once_and_the_odometry_is_closed():
    odometry = FakeOdometry()
    run = run_odometry(lambda: odometry, decoded(5))
    assert [frame.result.stamp_ns for frame in run.frames] == TRUTH.stamps_ns[:5].tolist()
    assert (len(run.poses), odometry.closed) == (3, 1)
    assert min(run.init_ms, run.finalize_ms, *(frame.track_ms for frame in run.frames)) >= 0.0
    assert run.peak_rss_mb > 20.0


def test_the_odometry_is_closed_when_tracking_fails():
    odometry = FakeOdometry(fails_at=2)
    with pytest.raises(RuntimeError, match="broken"):
        run_odometry(lambda: odometry, decoded(5))
    assert odometry.closed == 1


def test_what_was_tracked_before_a_failure_is_kept():
    recorder = OdometryRecorder(lambda: FakeOdometry(fails_at=4))
    with pytest.raises(RuntimeError, match="broken"):
        recorder.follow(decoded(8))
    assert [frame.result.stamp_ns for frame in recorder.run.frames] == TRUTH.stamps_ns[:4].tolist()
    assert (recorder.run.is_complete, recorder.run.refined) == (False, None)
    assert recorder.run.peak_rss_mb > 20.0


def test_the_path_that_is_known_in_the_end_is_measured_apart(run):
    assert run.is_complete
    errors = evaluate_odometry(run.results, TRUTH, refined=run.refined)
    assert errors.refined_error_m.rmse < 1e-9
    assert summarize_odometry(run, errors)["refined_error_m"]["max"] < 1e-9
    assert odometry_rows(errors)[-1].label == "position error, refined at the end"
    assert evaluate_odometry(run.results, None, refined=run.refined).refined_error_m is None
    still = Trajectory(TRUTH.stamps_ns, [TRUTH.poses[0]] * len(TRUTH))
    assert evaluate_odometry(run.results, TRUTH, refined=still).refined_error_m is None


def timed_run(*times, stages=None):
    frames = [TrackedFrame(Rejection(i, Reason.BLURRED, {}, stages or {}), 2.0, ms) for i, ms in enumerate(times)]
    return OdometryRun(tuple(frames), 7.0, 9.0, 100.0)


def test_the_reference_table_keeps_the_warm_up_apart_and_adds_up():
    figures = lifecycle(timed_run(90.0, 60.0, 10.0, 12.0, 14.0, stages={"prepare": 1.5, "track": 8.0}))
    assert (figures["init_ms"], figures["finalize_ms"], figures["warm_up_ms"]) == (7.0, 9.0, [90.0, 60.0])
    assert figures["preprocess_ms"]["p50"] == 1.5
    assert figures["inference_ms"]["p50"] == pytest.approx(10.5)
    assert figures["total_ms"]["p50"] == pytest.approx(14.0)


def test_a_run_of_nothing_but_warm_up_has_no_times_a_frame():
    assert lifecycle(timed_run(90.0))["total_ms"] is None


def test_latency_and_rate_are_of_tracking_alone():
    figures = summarize_odometry(timed_run(10.0, 20.0, 30.0), evaluate_odometry([], None))
    assert figures["latency_ms"]["p50"] == 20.0
    assert figures["fps"] == pytest.approx(50.0)


def test_the_figures_of_a_run_with_a_loss(run):
    figures = json.loads(json.dumps(summarize_odometry(run, evaluate_odometry(run.results, TRUTH)), allow_nan=False))
    assert (figures["frames"], figures["tracked_frames"]) == (40, 33)
    assert figures["losses"] == {"BLURRED": 5, "DEGENERATE_MOTION": 2}
    assert figures["loss_events"] == 1
    assert figures["start_s"] == pytest.approx(2 / 30, abs=1e-6)
    assert figures["ate_sim3_m"] < 1e-9
    assert figures["rpe"]["over_1_s"]["translation_m"] is None  # neither segment lasts a second
    assert figures["rpe"]["over_path"]["translation_percent"] < 1e-6
    assert [segment["poses"] for segment in figures["segments"]] == [18, 15]
    assert [segment["begin_s"] for segment in figures["segments"]] == pytest.approx([2 / 30, 25 / 30], abs=1e-6)


def test_a_scale_that_sensors_told_is_in_the_figures():
    pose = OdometryPose(0, TRUTH.poses[0], 0, 100, scale=OdometryScale(2.5, 0.01))
    run = OdometryRun((TrackedFrame(pose, 1.0, 1.0),), 0.0, 0.0, 100.0)
    figures = summarize_odometry(run, evaluate_odometry(run.results, None))
    assert figures["scale"] == {"metres_per_unit": 2.5, "log_sigma": 0.01}


def test_stages_show_how_often_they_ran_and_their_means_add_up(run):
    stages = summarize_odometry(run, evaluate_odometry(run.results, None))["stage_ms"]
    assert stages["prepare"] == {"p50": 1.0, "p95": 1.0, "mean": 1.0, "frames": 40}
    assert stages["track"]["mean"] == pytest.approx(4.0)
    assert (stages["adjust"]["frames"], stages["adjust"]["mean"]) == (2, pytest.approx(40.0 / 40))


class Clock:
    """Time that passes only by sleeping and by being told to."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(odometry_run, "time", clock)
    return clock


def test_frames_are_handed_out_at_their_stamps(clock):
    paced = AtStamps(decoded(4, NANOSECONDS // 50))
    handed = [(clock.now_s, frame.frame.stamp_ns) for frame in paced]
    assert handed == [(pytest.approx(0.02 * row), 20_000_000 * row) for row in range(4)]
    assert paced.dropped == 0


def test_late_frames_are_dropped_and_counted_and_the_newest_wins(clock):
    paced, handed = AtStamps(decoded(6, NANOSECONDS // 50)), []
    for frame in paced:
        handed.append(frame.frame.stamp_ns // 20_000_000)
        clock.now_s += 0.05  # two and a half frames
    assert handed == [0, 1, 5]
    assert paced.dropped == 3


def test_a_frame_that_takes_long_costs_none_of_those_that_wait_behind_it(clock):
    paced, handed = AtStamps(decoded(8, NANOSECONDS // 50)), []
    for frame in paced:
        row = frame.frame.stamp_ns // 20_000_000
        handed.append((row, clock.now_s))
        clock.now_s += 0.055 if row == 2 else 0.005
    assert [row for row, _ in handed] == list(range(8))
    assert [at_s for row, at_s in handed if row > 2] == pytest.approx([0.095, 0.1, 0.105, 0.12, 0.14])
    assert paced.dropped == 0


@pytest.mark.parametrize("truth", [TRUTH, None])
def test_the_plot_is_drawn_with_and_without_truth(run, truth, tmp_path):
    write_odometry_plot(tmp_path / "run.png", "title", run, evaluate_odometry(run.results, truth), truth)
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_odometry_that_never_started_is_drawn_empty_and_an_unwritable_file_is_reported(tmp_path):
    run = timed_run(10.0, 12.0)
    write_odometry_plot(tmp_path / "run.png", "title", run, evaluate_odometry(run.results, TRUTH), TRUTH)
    with pytest.raises(OutputError, match="absent"):
        write_odometry_plot(tmp_path / "absent" / "run.png", "t", run, evaluate_odometry(run.results, None), None)


def test_poses_that_no_truth_belongs_to_are_drawn_as_not_aligned(run, tmp_path):
    elsewhen = Trajectory(TRUTH.stamps_ns + 3600 * NANOSECONDS, TRUTH.poses)
    write_odometry_plot(tmp_path / "run.png", "title", run, evaluate_odometry(run.results, elsewhen), elsewhen)
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_frames_that_were_refused_get_the_poses_that_were_known_later():
    def pose(stamp_ns, segment=0, **earlier):
        return OdometryPose(stamp_ns, SE3.identity(), segment, 50, earlier={int(k[1:]): v for k, v in earlier.items()})

    moved = SE3(np.eye(3), [1.0, 0.0, 0.0])
    refused = [Rejection(stamp_ns, Reason.DEGENERATE_MOTION) for stamp_ns in (1, 2, 5)]
    results = [*refused[:2], pose(3, _2=moved, _3=moved), pose(4), refused[2], pose(6, 1, _4=moved, _5=moved)]
    run = OdometryRun(tuple(TrackedFrame(result, 0.0, 1.0) for result in results), 0.0, 0.0, 0.0)
    completed = with_earlier_poses(run).results
    assert [isinstance(result, OdometryPose) for result in completed] == [False, True, True, True, True, True]
    assert (completed[1].stamp_ns, completed[1].segment, completed[1].odom_from_camera) == (2, 0, moved)
    assert (completed[4].stamp_ns, completed[4].segment) == (5, 1)
    assert completed[2] is results[2]  # a pose that was given stays
    assert completed[3] is results[3]
