"""An estimator whose numbers break down is started anew, and tells so."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, Estimate, LoopClosure, OdometryPose, Reason, State, TrackedPose
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.contained_estimator import ContainedEstimator
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.simulation.fusion_replay import play
from visloc_ros.simulation.fusion_runs import simulate_run
from visloc_ros.simulation.fusion_scenario import FusionScenario

CALM = FusionScenario(duration_s=8.0, rate_hz=10.0, jitter=0.0, jitter_deg=0.0, outlier_share=0.0)
SOUND = Estimate(1, State.LOCALIZED, None, SE3.identity(), SE3.identity(), np.eye(6))


@pytest.fixture
def run():
    return simulate_run(CALM, seed=1)


def raising(*_):
    raise np.linalg.LinAlgError("57-th leading minor not positive definite")


@pytest.mark.parametrize(
    ("method", "argument", "otherwise"),
    [
        ("add_odometry", OdometryPose(5, SE3.identity(), 0, 10), None),
        ("predict", 5, None),
        ("add_anchor", AnchorPose(5, SE3.identity(), np.eye(6), 1, 1, 0.5), Reason.INTERNAL_ERROR),
        ("add_tracked", TrackedPose(5, SE3.identity(), np.eye(6), 1, np.eye(6), 1, 1, 0.5), Reason.INTERNAL_ERROR),
        ("add_loop", LoopClosure(1, 5, None, np.eye(7)), Reason.INTERNAL_ERROR),
    ],
)
def test_a_failure_is_a_refusal_with_its_reason_and_a_fresh_start(monkeypatch, method, argument, otherwise, caplog):
    fuser = Fuser(FusionConfig(), metric=True)
    restarted = []
    monkeypatch.setattr(fuser, method, raising)
    monkeypatch.setattr(fuser, "restart", lambda: restarted.append(method))
    estimator = ContainedEstimator(fuser)
    answer = getattr(estimator, method)(argument)
    assert (answer if otherwise is None else answer.reason) == otherwise
    assert restarted == [method]
    assert estimator.failures == 1
    assert "57-th leading minor" in caplog.text


@pytest.mark.parametrize(
    "absurd",
    [
        replace(SOUND, map_from_odom=SE3(np.eye(3), np.array([1e155, 0.0, 0.0]))),
        replace(SOUND, odom_from_camera=SE3(np.full((3, 3), np.nan), np.zeros(3))),
        replace(SOUND, covariance=-np.eye(6)),
        replace(SOUND, covariance=np.full((6, 6), np.inf)),
    ],
    ids=["far", "no rotation", "negative covariance", "infinite covariance"],
)
def test_an_absurd_pose_is_never_given(monkeypatch, absurd):
    fuser = Fuser(FusionConfig(), metric=True)
    estimator = ContainedEstimator(fuser)
    answers = iter([absurd, Estimate(1, State.INITIALIZING)])
    monkeypatch.setattr(fuser, "estimate", lambda stamp_ns: next(answers))
    assert estimator.estimate(1).map_from_camera is None
    assert estimator.failures == 1


def test_after_a_failure_the_odometry_frame_goes_on_and_anchors_align_it_again(run, monkeypatch):
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run)
    before = fuser.estimate(run.stamps_ns[-1]).odom_from_camera
    fuser.restart()
    later = [stamp + run.stamps_ns[-1] - run.stamps_ns[0] + 10**8 for stamp in run.stamps_ns]
    shift_ns = later[0] - run.stamps_ns[0]
    again = replace(
        run,
        stamps_ns=later,
        odometry=[replace(one, stamp_ns=one.stamp_ns + shift_ns) for one in run.odometry],
        anchors=[(arrival + shift_ns, replace(one, stamp_ns=one.stamp_ns + shift_ns)) for arrival, one in run.anchors],
    )
    estimates = play(fuser, again)
    found = [one for one in estimates if one.map_from_camera is not None]
    assert np.linalg.norm(found[0].odom_from_camera.translation - before.translation) < 0.5
    truth = dict(zip(later, run.truth, strict=True))
    assert estimates[-1].map_from_camera.is_close(truth[later[-1]], 0.1, 2.0)
