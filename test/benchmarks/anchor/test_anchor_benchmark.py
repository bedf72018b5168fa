"""The anchor benchmark: what it predicts, and that its figures add up."""

import numpy as np
import pycolmap
import pytest

from benchmarks.anchor.timing import (
    FrameTiming,
    measure_anchors,
    summarize_timings,
)
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import AnchorPose, Frame, Reason, Rejection
from visloc_ros.evaluation.decoding import DecodedFrame
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg

CAMERA = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50, 50, 32, 24])
IMAGE = np.zeros((48, 64), np.uint8)
NAN = float("nan")
A_CENTIMETRE = np.array([0.01, 0.0, 0.0])


class FakeEngine:
    """Finds every frame a centimetre beside the truth, or as many as it is told to."""

    def __init__(self, found=1000):
        self.found = found
        self.priors = []

    def localize(self, frame, prior=None):
        self.priors.append(prior)
        if len(self.priors) > self.found:
            return Rejection(frame.stamp_ns, Reason.FEW_INLIERS, {}, {"features": 1.0})
        pose = SE3(np.eye(3), pose_at(frame.stamp_ns).translation + A_CENTIMETRE)
        return AnchorPose(frame.stamp_ns, pose, np.eye(6), 50, 80, 1.0, stage_ms={"features": 3.0, "pnp": 1.0})


def pose_at(stamp_ns):
    return SE3(np.eye(3), np.array([stamp_ns / NANOSECONDS, 0.0, 0.0]))


def truth_of(count):
    stamps = [i * NANOSECONDS // 30 for i in range(count)]
    return Trajectory(np.array(stamps), tuple(pose_at(stamp) for stamp in stamps))


def decoded(count):
    return [DecodedFrame(Frame(i * NANOSECONDS // 30, IMAGE, CAMERA, str(i)), 2.5) for i in range(count)]


def test_warming_up_is_kept_apart():
    engine = FakeEngine()
    timings = measure_anchors(engine, decoded(4), truth_of(4), warm_up=2)
    assert len(engine.priors) == 6
    assert len(timings.plain) == 4
    assert len(timings.warm_up_ms) == 2
    assert timings.predicted == ()


def test_decoding_belongs_to_the_total():
    (timing,) = measure_anchors(FakeEngine(), decoded(1), truth_of(1)).plain
    assert timing.stage_ms == {"decode": 2.5, "features": 3.0, "pnp": 1.0}
    assert timing.total_ms > 2.5


def test_errors_are_measured_against_the_truth_and_unknown_without_one():
    (timing,) = measure_anchors(FakeEngine(), decoded(1), truth_of(1)).plain
    assert timing.position_error_m == pytest.approx(0.01)
    (blind,) = measure_anchors(FakeEngine(), decoded(1), None).plain
    assert np.isnan(blind.position_error_m)


def test_the_prediction_is_the_truth_of_a_tenth_of_a_second_before_perturbed():
    engine = FakeEngine()
    timings = measure_anchors(engine, decoded(12), truth_of(12), with_prior=True, warm_up=0)
    priors = [prior for prior in engine.priors if prior is not None]
    assert len(timings.predicted) == len(priors) == 12
    earlier = pose_at(10 * NANOSECONDS // 30 - NANOSECONDS // 10)
    assert position_error(priors[10], earlier) == pytest.approx(0.05)
    assert rotation_error_deg(priors[10], earlier) == pytest.approx(2.0)


def test_without_truth_the_last_accepted_pose_is_the_prediction():
    engine = FakeEngine(found=1)
    timings = measure_anchors(engine, decoded(3), None, with_prior=True, warm_up=0)
    accepted = pose_at(0).translation + A_CENTIMETRE
    assert len(timings.predicted) == 2  # nothing was known when the first frame came
    assert [None if one is None else one.translation.tolist() for one in engine.priors] == [
        None, None, accepted.tolist(), None, accepted.tolist(),
    ]  # fmt: skip


def timing(total, reason=None, error=NAN, **stage_ms):
    return FrameTiming("f", stage_ms, total, reason, 0, error, 10 * error)


def test_the_summary_holds_percentiles_errors_and_counts():
    timings = [
        timing(10.0, error=0.01, decode=1.0, features=6.0, matching=3.0),
        timing(20.0, error=0.03, decode=1.0, features=6.0),
        timing(30.0, "FEW_INLIERS", decode=1.0, features=6.0),
    ]
    summary = summarize_timings(timings)
    assert list(summary["stage_ms"]) == [
        "decode", "features", "global", "retrieval", "merge", "matching", "correspondences", "pnp",
    ]  # fmt: skip
    assert summary["stage_ms"]["features"] == {"p50": 6.0, "p95": 6.0}
    assert summary["stage_ms"]["matching"]["p50"] == 0.0
    assert summary["total_ms"]["p50"] == 20.0
    assert summary["position_error_m"]["median"] == pytest.approx(0.02)
    assert summary["rotation_error_deg"]["max"] == pytest.approx(0.3)
    assert (summary["accepted"], summary["rejected"]) == (2, {"FEW_INLIERS": 1})
    assert summary["within_5cm_5deg_percent"] == pytest.approx(200 / 3)


def test_guided_matching_is_listed_where_it_ran():
    assert "guided" in summarize_timings([timing(5.0, guided=2.0)])["stage_ms"]


def test_without_truth_there_are_no_errors():
    summary = summarize_timings([timing(5.0)])
    assert summary["position_error_m"] is summary["within_5cm_5deg_percent"] is None
