"""A pose prior decides between places that look alike, delays a start elsewhere, and is never itself the answer."""

from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_replay import play, position_errors
from testing.fusion_runs import FusionRun, make_anchor, simulate_run
from testing.fusion_scenario import EXACT, FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, State
from visloc_ros.fusion.anchor_fix import make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.initialization.alignment_search import AlignmentSearch
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.odometry_model.history import OdometryHistory
from visloc_ros.fusion.odometry_model.noise_model import OdometryModel

SCENARIO = replace(EXACT, duration_s=15.0, rate_hz=10.0, delay_s=(0.0, 0.0))
ALIAS = SE3(rotation_matrix([0, 0, 2.0]), np.array([15.0, 0.0, 0.0]))
PRIOR_COVARIANCE = np.diag(np.repeat([0.25, 0.07], 3))


def run_with_alias(count: int) -> FusionRun:
    """A run whose first anchors agree on a place that only looks like the true one."""
    run = simulate_run(SCENARIO, 0)
    truth = dict(zip(run.stamps_ns, run.truth, strict=True))
    anchors = []
    for index, (arrival, anchor) in enumerate(run.anchors):
        pose = truth[anchor.stamp_ns]
        anchors.append((arrival, make_anchor(SCENARIO, anchor.stamp_ns, ALIAS @ pose if index < count else pose)))
    return replace(run, anchors=anchors)


def with_prior(run: FusionRun, map_from_camera: SE3) -> Fuser:
    """A fuser that has seen the first frame and then got a pose prior."""
    fuser = Fuser(FusionConfig(), metric=True)
    fuser.add_odometry(run.odometry[0])
    assert fuser.set_initial_pose(run.stamps_ns[0], map_from_camera, PRIOR_COVARIANCE)
    return fuser


def largest_error(run: FusionRun, estimates) -> float:
    return float(position_errors(run, estimates).max())


def test_a_prior_keeps_the_start_from_a_place_that_looks_alike():
    run = run_with_alias(4)
    assert largest_error(run, play(Fuser(FusionConfig(), metric=True), run)) > 5.0
    nearby = SE3(run.truth[0].rotation, run.truth[0].translation + np.array([0.4, -0.4, 0.2]))
    estimates = play(with_prior(run, nearby), run)
    assert largest_error(run, estimates) < 1e-3
    assert estimates[-1].state is State.LOCALIZED


def test_a_wrong_prior_is_overruled_by_more_anchors():
    run = run_with_alias(0)
    fuser = with_prior(run, ALIAS @ run.truth[0])
    estimates = play(fuser, run)
    assert largest_error(run, estimates) < 1e-3
    assert estimates[-1].state is State.LOCALIZED
    assert fuser.pose_prior is None


def test_a_prior_waits_for_the_odometry_that_comes_after_it():
    run = run_with_alias(0)
    fuser = Fuser(FusionConfig(), metric=True)
    fuser.set_initial_pose(run.stamps_ns[0], run.truth[0], PRIOR_COVARIANCE)
    assert fuser.pose_prior is None
    fuser.add_odometry(run.odometry[0])
    assert fuser.pose_prior.map_from_camera.is_close(run.truth[0])
    assert fuser.predict(run.stamps_ns[0]).is_close(run.truth[0])
    assert fuser.estimate(run.stamps_ns[0]).map_from_camera is None


@pytest.mark.parametrize(("offset", "kept"), [(0.5, True), (15.0, False)])
def test_a_fix_stays_where_a_later_prior_agrees_and_odom_goes_on_where_not(offset, kept):
    run = run_with_alias(0)
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run)
    last = run.stamps_ns[-1]
    before = fuser.estimate(last)
    prior = SE3(run.truth[-1].rotation, run.truth[-1].translation + np.array([offset, 0.0, 0.0]))
    assert fuser.set_initial_pose(last, prior, PRIOR_COVARIANCE) is not kept
    after = fuser.estimate(last)
    assert after.odom_from_camera.is_close(before.odom_from_camera)
    assert (after.map_from_camera is not None) is kept
    assert after.state is (State.LOCALIZED if kept else State.INITIALIZING)


def test_relocalizing_keeps_the_scale_of_the_odometry_and_its_frame():
    run = run_with_alias(0)
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run)
    before = fuser.estimate(run.stamps_ns[-1]).odom_from_camera
    fuser.relocalize()
    last = run.odometry[-1]
    assert isinstance(last, OdometryPose)
    step = run.odometry[-2].odom_from_camera.inverse @ last.odom_from_camera
    stamp_ns = last.stamp_ns + (last.stamp_ns - run.stamps_ns[-2])
    fuser.add_odometry(replace(last, stamp_ns=stamp_ns, odom_from_camera=last.odom_from_camera @ step))
    after = fuser.estimate(stamp_ns)
    moved = np.linalg.norm((before.inverse @ after.odom_from_camera).translation)
    assert moved == pytest.approx(np.linalg.norm(run.truth[-1].translation - run.truth[-2].translation), rel=0.05)
    assert after.map_from_odom is None


def with_first_anchors(run: FusionRun, count: int) -> FusionRun:
    return replace(run, anchors=run.anchors[:count])


def test_anchors_that_agree_predict_the_pose_before_there_is_a_fix():
    run = with_first_anchors(run_with_alias(0), 2)
    fuser = Fuser(FusionConfig(), metric=True)
    assert play(fuser, run)[-1].map_from_camera is None
    predicted, newest = fuser.predict(run.stamps_ns[-1]), run.anchors[1][1].map_from_camera
    assert predicted.is_close(SE3(run.truth[-1].rotation, newest.translation), translation=1e-6, degrees=1e-3)
    far = np.linalg.norm(run.truth[-1].translation - newest.translation)
    assert far < 3.0 * np.sqrt(fuser.search_prior.covariance[0, 0])


@pytest.mark.parametrize(("aliases", "anchors"), [(0, 1), (1, 2)])
def test_an_anchor_alone_predicts_nothing(aliases, anchors):
    run = with_first_anchors(run_with_alias(aliases), anchors)
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run)
    assert fuser.predict(run.stamps_ns[-1]) is None


def test_anchors_that_agree_are_believed_before_a_prior():
    run = with_first_anchors(run_with_alias(0), 2)
    fuser = with_prior(run, ALIAS @ run.truth[0])
    play(fuser, run)
    assert fuser.predict(run.stamps_ns[-1]).is_close(
        SE3(run.truth[-1].rotation, run.anchors[1][1].map_from_camera.translation)
    )


def test_anchors_of_long_ago_predict_nothing():
    run = with_first_anchors(run_with_alias(0), 2)
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run)
    last = run.odometry[-1]
    fuser.add_odometry(replace(last, stamp_ns=last.stamp_ns + 30 * 10**9))
    assert fuser.search_prior is None


CONFIG = FusionConfig()
ELSEWHERE = SE3(rotation_matrix([0.0, 0.0, 1.0]), np.array([8.0, 2.0, 0.0]))
RUN = simulate_run(FusionScenario(duration_s=20.0, rate_hz=10.0, delay_s=(0.0, 0.0)), 0)


def moved(anchor):
    return replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera)


def test_two_refused_anchors_that_agree_confirm_each_other():
    history = OdometryHistory(60.0, 1.0)
    for odometry in RUN.odometry:
        history.append(odometry)
    right, there, there_too = (anchor for _, anchor in RUN.anchors[5:8])
    fixes = [make_fix(history.at(a.stamp_ns), a, CONFIG.anchor_noise) for a in (right, moved(there), moved(there_too))]
    scale, odometry = ScalePrior(float(np.log(RUN.scales[70])), 0.1), OdometryModel(CONFIG.odometry_noise, 0.0)
    search = AlignmentSearch(CONFIG)
    search.add(fixes[0])
    search.add(fixes[1])
    assert not search.is_confirmed(fixes[1], 0, scale, odometry)
    search.add(fixes[2])
    assert search.is_confirmed(fixes[2], 0, scale, odometry)
    assert not search.is_confirmed(fixes[2], there_too.stamp_ns, scale, odometry)


def test_a_moved_camera_is_degraded_once_two_anchors_contradict_it():
    begin_ns = RUN.stamps_ns[100]
    anchors = [(t, moved(a) if a.stamp_ns >= begin_ns else a) for t, a in RUN.anchors]
    contradicted_ns = [t for t, a in anchors if a.stamp_ns >= begin_ns][1]
    fuser = Fuser(CONFIG, metric=True)
    estimates = play(fuser, replace(RUN, anchors=anchors))
    sure = [e for e in estimates if e.state is State.LOCALIZED and e.stamp_ns >= contradicted_ns]
    assert sure
    for estimate in sure:
        true = ELSEWHERE @ RUN.truth[RUN.stamps_ns.index(estimate.stamp_ns)]
        assert np.linalg.norm(estimate.map_from_camera.translation - true.translation) < 0.3
    after = [e for e in estimates if contradicted_ns <= e.stamp_ns < contradicted_ns + NANOSECONDS]
    assert {e.state for e in after} == {State.DEGRADED}
