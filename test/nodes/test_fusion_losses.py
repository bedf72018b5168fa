"""What the fusion node does when it does not know where it is: it says so, and no policy hides it."""

import math

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from fusion_probe import FRAME_NS, Setup, map_from_base, parameters, running, stamp_of

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.sources import ros_messages

AHEAD_NS = 100_000_000
# The last anchor is 0.5 s old when the fix is there; LOST comes 0.75 s later, after 15 frames.
SOON_LOST = {"fusion__state__degraded_age_s": 1.0, "fusion__state__lost_age_s": 1.25}


def play_without_anchors(setup: Setup, first: int = 50, frames: int = 40) -> list[LocalizationStatus]:
    statuses = [setup.send_frame(index) for index in range(first, first + frames)]
    setup.settle()
    return statuses


def lost_stamps(statuses: list[LocalizationStatus]) -> list[int]:
    stamps = [ros_messages.stamp_from_msg(one.header.stamp) for one in statuses if one.state == LocalizationStatus.LOST]
    assert len(stamps) > 10
    return stamps


def sigma(message: object) -> float:
    return float(np.sqrt(np.linalg.eigvalsh(ros_messages.covariance_from_msg(message.pose)[:3, :3])[-1]))


def pose_stamps(setup: Setup) -> set[int]:
    return {ros_messages.stamp_from_msg(one.header.stamp) for one in setup.probe.poses}


def test_the_state_gets_worse_with_the_distance_and_time_since_the_last_fix(ros_domain):
    with running(*parameters(**SOON_LOST)) as setup:
        setup.localize()
        statuses = play_without_anchors(setup)
        states = [status.state for status in statuses]
        assert states == sorted(states)
        assert {LocalizationStatus.LOCALIZED, LocalizationStatus.DEGRADED, LocalizationStatus.LOST} == set(states)
        supports = {status.state: status.support for status in statuses}
        assert supports[LocalizationStatus.LOCALIZED] == LocalizationStatus.SUPPORT_ANCHOR
        assert supports[LocalizationStatus.DEGRADED] == LocalizationStatus.SUPPORT_ODOMETRY
        assert all(status.reason == "STALE" for status in statuses if status.state != LocalizationStatus.LOCALIZED)
        for name in ("age_s", "distance_since_fix", "position_sigma"):
            assert np.all(np.diff([getattr(status, name) for status in statuses]) > 0)


@pytest.mark.parametrize(("policy", "goes_on"), [("stop_tf", False), ("hold", True)])
def test_while_lost_no_pose_is_claimed_and_hold_alone_goes_on_with_the_transform(ros_domain, policy, goes_on):
    with running(*parameters(loss_policy=policy, **SOON_LOST)) as setup:
        setup.localize()
        lost = lost_stamps(play_without_anchors(setup))
        sent, dated_ahead = set(setup.probe.edge("map", "odom")), {stamp + AHEAD_NS for stamp in lost}
        assert dated_ahead & sent == (dated_ahead if goes_on else set())
        assert not set(lost) & pose_stamps(setup)
        assert set(lost) <= set(setup.probe.edge("odom", "base_link"))
        assert setup.send_loss(90).state == LocalizationStatus.LOST  # a frame without odometry makes nothing better


def test_inflate_goes_on_with_a_covariance_of_at_least_the_lost_sigma(ros_domain):
    with running(*parameters(loss_policy="inflate", fusion__state__lost_sigma=0.8, **SOON_LOST)) as setup:
        setup.probe.on_earth = GeoReference(55.7, 13.2)
        setup.localize()
        lost = lost_stamps(play_without_anchors(setup))
        assert {stamp + AHEAD_NS for stamp in lost} <= set(setup.probe.edge("map", "odom"))
        setup.wait_for(lambda: lost[-1] in pose_stamps(setup), "pose of the last frame")
        poses = {ros_messages.stamp_from_msg(one.header.stamp): one for one in setup.probe.poses}
        sigmas = [sigma(poses[stamp]) for stamp in lost if stamp in poses]
        assert len(sigmas) >= 10
        assert sigmas[0] >= 0.8
        assert np.all(np.diff(sigmas) > 0)
        assert ros_messages.pose_from_msg(poses[lost[-1]].pose.pose).is_close(map_from_base(89), 0.05, 1.0)
        fixes = {ros_messages.stamp_from_msg(one.header.stamp): one for one in setup.probe.fixes}
        assert not set(lost) & set(fixes)  # receivers of fixes know of no state
        assert set(poses) - set(lost) == set(fixes)
        assert all(math.isnan(one.altitude) and one.position_covariance[8] == math.inf for one in fixes.values())


@pytest.mark.parametrize(("policy", "goes_on"), [("hold", True), ("stop_tf", False)])
def test_frames_that_odometry_cannot_track_end_in_lost(ros_domain, policy, goes_on):
    options = parameters(loss_policy=policy, fusion__state__lost_without_pose_s=0.5)
    with running(*options) as setup:
        setup.localize()
        statuses = [setup.send_loss(index) for index in range(50, 70)]
        setup.settle()
        states = [status.state for status in statuses]
        assert states[0] == LocalizationStatus.DEGRADED
        assert states[-1] == LocalizationStatus.LOST
        assert all(status.reason == "FEW_FEATURES" for status in statuses)
        assert statuses[-1].support == LocalizationStatus.SUPPORT_NONE
        assert statuses[-1].age_s == pytest.approx(statuses[0].age_s + 19 * FRAME_NS / 1e9, abs=1e-3)
        corrections = setup.probe.edge("map", "odom")
        assert stamp_of(51) in corrections
        assert (stamp_of(69) in corrections) is goes_on
        assert stamp_of(69) + AHEAD_NS not in corrections  # where no pose leads: the next one may be elsewhere
        assert stamp_of(51) not in setup.probe.edge("odom", "base_link")
        assert stamp_of(51) not in pose_stamps(setup)


def test_an_odometry_that_falls_silent_is_a_loss(ros_domain):
    with running(*parameters(silence_s=0.2, fusion__state__lost_without_pose_s=0.5)) as setup:
        setup.localize()
        statuses = setup.probe.statuses
        setup.wait_for(lambda: statuses[-1].state == LocalizationStatus.LOST, "loss")
        assert statuses[-1].reason == "NO_ODOMETRY"
        assert setup.send_frame(60).state == LocalizationStatus.LOCALIZED
        setup.node.trigger_deactivate()
        setup.settle()
        assert statuses[-1].state == LocalizationStatus.UNINITIALIZED  # nothing more is claimed
