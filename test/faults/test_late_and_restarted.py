"""What comes late, comes again, or jumps: transforms, a camera, odometry, the clock. Planted, exact measurements."""

import pytest

pytest.importorskip("rclpy")

from fusion_probe import Setup, map_from_base, odom_from_camera, parameters, running, stamp_of

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.geometry import SE3
from visloc_ros.sources import ros_messages

HOUR = 3600 * 20  # frames of the probe


def claims_are_true(setup: Setup) -> bool:
    """Whether each pose that was published is that of its frame."""
    frames = {stamp_of(index): index for index in [*range(400), *range(HOUR, HOUR + 400)]}
    return all(
        ros_messages.pose_from_msg(one.pose.pose).is_close(
            map_from_base(frames[ros_messages.stamp_from_msg(one.header.stamp)]), 0.05, 1.0
        )
        for one in setup.probe.poses
    )


def test_the_place_of_the_camera_on_the_robot_comes_late(ros_domain):
    with running() as setup:
        for index in range(50):
            assert setup.send_frame(index).reason == "NO_TRANSFORM"
            if index - 5 in (0, 20, 40):
                setup.send_anchor(index - 5)
        level, words, _ = setup.node._report()
        assert (level, "publish it" in words) == ("error", True)
        assert not setup.probe.transforms
        setup.mount()
        assert setup.send_frame(50).state == LocalizationStatus.LOCALIZED
        setup.wait_for(lambda: setup.probe.poses, "pose")
        assert claims_are_true(setup)


def test_a_camera_that_is_started_again_is_found_again(ros_domain):
    """Odometry starts again, elsewhere and in another unit; the robot has been driven on meanwhile."""
    elsewhere = SE3.from_rotation_vector([0.0, 0.4, 0.1], [3.0, 1.0, -2.0])
    with running(*parameters(silence_s=0.3, fusion__state__lost_without_pose_s=0.5)) as setup:
        setup.localize()
        setup.wait_for(
            lambda: setup.probe.statuses[-1].state == LocalizationStatus.LOST, "loss of a camera that is silent"
        )
        count = len(setup.probe.poses)
        setup.probe.frames_received = 0  # it is a new process
        for index in range(100, 150):
            status = setup.send_frame(index, camera=elsewhere @ odom_from_camera(index))
            if index - 5 in (100, 120, 140):
                setup.send_anchor(index - 5)
        assert status.state == LocalizationStatus.LOCALIZED
        setup.settle()
        assert len(setup.probe.poses) > count
        assert claims_are_true(setup)


def test_a_clock_that_jumps_an_hour_ahead_is_a_loss_that_ends(ros_domain):
    with running() as setup:
        setup.localize()
        assert setup.send_frame(HOUR).state != LocalizationStatus.LOCALIZED
        for index in range(HOUR + 1, HOUR + 50):
            status = setup.send_frame(index)
            if index - 5 - HOUR in (1, 20, 40):
                setup.send_anchor(index - 5)
        assert status.state == LocalizationStatus.LOCALIZED
        assert not setup.node.guard.failures
        assert claims_are_true(setup)


def test_an_anchor_node_that_is_killed_makes_the_pose_worse_and_its_return_good_again(ros_domain):
    with running(*parameters(fusion__state__degraded_age_s=1.0, fusion__state__lost_age_s=2.0)) as setup:
        setup.localize()
        states = [setup.send_frame(index).state for index in range(50, 110)]
        order = [LocalizationStatus.LOCALIZED, LocalizationStatus.DEGRADED, LocalizationStatus.LOST]
        assert sorted(set(states), key=states.index) == order
        setup.send_anchor(109)
        setup.send_anchor(100)
        assert setup.send_frame(110).state == LocalizationStatus.LOCALIZED
        assert claims_are_true(setup)
