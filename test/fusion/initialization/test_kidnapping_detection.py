"""One refused anchor: when it speaks of a moved camera, and when it is only a wrong anchor."""

from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_replay import FollowedPoints, play
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from testing.robustness import LARGEST_NEES
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import ACCEPTED, Reason, State
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser

SCENARIO = FusionScenario(duration_s=14.0, rate_hz=10.0, delay_s=(0.0, 0.0))
RUN = simulate_run(SCENARIO, 0)
ELSEWHERE = SE3(rotation_matrix([0.0, 0.0, 1.0]), np.array([8.0, 2.0, 0.0]))
SURE, UNSURE = 0.999, 0.96


def placed_elsewhere(index, probability):
    """The run with one anchor of another place, and when that comes."""
    anchors = list(RUN.anchors)
    arrival, anchor = anchors[index]
    moved = replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera, probability=probability)
    anchors[index] = arrival, moved
    return replace(RUN, anchors=anchors), arrival


def states(run, begin_ns, end_ns, tracked=None):
    estimates = play(Fuser(FusionConfig(), metric=True), run, followed=tracked)
    return {(one.state, one.reason) for one in estimates if begin_ns <= one.stamp_ns < end_ns}


def test_one_sure_anchor_elsewhere_degrades_at_once_until_the_next_agrees_with_the_present_place():
    run, contradicted_ns = placed_elsewhere(8, SURE)
    again_ns = contradicted_ns + NANOSECONDS
    assert states(run, contradicted_ns, again_ns) == {(State.DEGRADED, Reason.ODOMETRY_DISAGREES)}
    assert states(run, again_ns, run.stamps_ns[-1]) == {(State.LOCALIZED, None)}


def test_one_unsure_anchor_elsewhere_is_only_refused():
    run, contradicted_ns = placed_elsewhere(8, UNSURE)
    assert states(run, contradicted_ns, run.stamps_ns[-1]) == {(State.LOCALIZED, None)}


def test_an_anchor_elsewhere_is_only_refused_while_points_of_the_map_are_followed():
    run, contradicted_ns = placed_elsewhere(8, SURE)
    tracked = FollowedPoints(SCENARIO, run, 0)
    assert states(run, contradicted_ns, run.stamps_ns[-1], tracked) == {(State.LOCALIZED, None)}


@pytest.mark.parametrize(("probability", "needed"), [(SURE, 3), (UNSURE, 5)])
def test_sure_anchors_move_the_fix_sooner_than_unsure_ones(probability, needed):
    anchors = list(RUN.anchors[:7])
    for arrival, anchor in RUN.anchors[7:]:
        moved = replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera, probability=probability)
        anchors.append((arrival, moved))
    run, moved_ns = replace(RUN, anchors=anchors), anchors[6 + needed][0]
    assert State.LOCALIZED not in {state for state, _ in states(run, moved_ns - NANOSECONDS, moved_ns)}
    assert states(run, moved_ns, run.stamps_ns[-1]) == {(State.LOCALIZED, None)}


def test_a_suspected_kidnapping_widens_the_covariance_to_where_the_camera_would_be():
    run, contradicted_ns = placed_elsewhere(8, SURE)
    estimates = play(Fuser(FusionConfig(), metric=True), run)
    truth = dict(zip(run.stamps_ns, run.truth, strict=True))
    for estimate in (one for one in estimates if contradicted_ns <= one.stamp_ns < contradicted_ns + NANOSECONDS):
        there = (ELSEWHERE @ truth[estimate.stamp_ns]).translation - estimate.map_from_camera.translation
        assert np.linalg.norm(there) > 5.0
        assert there @ np.linalg.solve(estimate.covariance[:3, :3], there) < LARGEST_NEES / 4.0
        assert np.sqrt(np.max(np.diag(estimate.covariance)[:3])) > 3.0


@pytest.mark.parametrize(("index", "state"), [(6, State.DEGRADED), (9, State.LOCALIZED)])
def test_only_an_anchor_of_a_later_image_ends_the_suspicion(index, state):
    """An older one that comes afterwards tells nothing of what has happened since its image."""
    run, _ = placed_elsewhere(8, SURE)
    late = run.anchors[index][1]
    prompt = [anchor for _, anchor in run.anchors[:9] if anchor is not late]
    fuser = Fuser(FusionConfig(), metric=True)
    for odometry in run.odometry[:100]:
        fuser.add_odometry(odometry)
        for anchor in prompt:
            if anchor.stamp_ns == odometry.stamp_ns:
                fuser.add_anchor(anchor)
    newest_ns = run.stamps_ns[99]
    assert fuser.estimate(newest_ns).state is State.DEGRADED
    assert fuser.add_anchor(late) is ACCEPTED
    assert fuser.estimate(newest_ns).state is state
