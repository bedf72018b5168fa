"""What the fuser tells beside the pose: how measurements met their predictions, and what the pose rests on."""

from dataclasses import replace

import numpy as np
import pytest
from incidents import ELSEWHERE

from visloc_ros.core.types import Support
from visloc_ros.evaluation.consistency import Consistency
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import MAX_INNOVATIONS, Fuser
from visloc_ros.simulation.followed_points import FollowedPoints
from visloc_ros.simulation.fusion_replay import play
from visloc_ros.simulation.fusion_runs import simulate_run
from visloc_ros.simulation.fusion_scenario import FusionScenario

USUAL = FusionScenario(duration_s=14.0, rate_hz=8.0)


def fused(scenario, seed=0, **changes):
    """Innovations and estimates of a run."""
    run = replace(simulate_run(scenario, seed), **changes)
    fuser, innovations = Fuser(FusionConfig(), metric=True), []
    followed = FollowedPoints(scenario, run, seed) if scenario.tracked else None
    estimates = play(fuser, run, lambda _: innovations.extend(fuser.take_innovations()), followed)
    return innovations, estimates


def test_innovations_are_as_large_as_the_fuser_expects():
    values = [one.squared for seed in range(2) for one in fused(USUAL, seed)[0]]
    assert len(values) > 10
    assert 3.0 < Consistency.of(values).mean < 9.0


def test_every_measurement_after_the_fix_is_told_once():
    innovations, estimates = fused(replace(USUAL, tracked=True))
    posed = [estimate.stamp_ns for estimate in estimates if estimate.map_from_camera is not None]
    tracked = [one.stamp_ns for one in innovations if one.source == "tracked"]
    assert len(tracked) == len(set(tracked))
    assert set(tracked) <= set(posed)
    assert len(tracked) > 0.7 * len(posed)
    assert {one.source for one in innovations} == {"anchor", "tracked"}


def test_a_refused_anchor_is_told_as_one():
    run = simulate_run(USUAL, 0)
    arrival, anchor = run.anchors[-3]
    wrong = (arrival, replace(anchor, map_from_camera=ELSEWHERE @ anchor.map_from_camera))
    innovations, _ = fused(USUAL, anchors=[*run.anchors[:-3], wrong, *run.anchors[-2:]])
    refused = [one for one in innovations if not one.accepted]
    assert [one.stamp_ns for one in refused] == [anchor.stamp_ns]
    assert refused[0].squared > 100.0
    assert np.linalg.norm(refused[0].error[:3]) > 0.3


def test_whoever_never_asks_does_not_make_them_pile_up():
    run = simulate_run(replace(USUAL, tracked=True), 0)
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run, followed=FollowedPoints(replace(USUAL, tracked=True), run, 0))
    assert len(fuser.take_innovations()) == MAX_INNOVATIONS
    assert fuser.take_innovations() == ()


@pytest.mark.parametrize(("tracked", "usual"), [(True, Support.MAP_TRACKING), (False, Support.ANCHOR)])
def test_poses_tell_what_they_rest_on(tracked, usual):
    estimates = fused(replace(USUAL, tracked=tracked))[1]
    assert all((estimate.support is Support.NONE) == (estimate.map_from_camera is None) for estimate in estimates)
    posed = [estimate.support for estimate in estimates if estimate.map_from_camera is not None]
    assert posed.count(usual) > 0.9 * len(posed)


def test_far_behind_the_last_anchor_odometry_is_alone():
    scenario = replace(USUAL, speed=0.1, duration_s=38.0, gaps=((12.0, 26.0),), position_drift=0.001)
    estimates = fused(scenario)[1]
    assert estimates[-1].support is Support.ODOMETRY
    assert estimates[int(12.0 * scenario.rate_hz)].support is Support.ANCHOR
