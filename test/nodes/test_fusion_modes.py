"""The fusion node with one source alone: its transforms are true ones, and it promises no others."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from fusion_probe import (
    BASE_FROM_CAMERA,
    map_from_base,
    odom_from_camera,
    parameters,
    running,
    stamp_of,
)

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import OdometryScale

AHEAD_NS = 100_000_000
METRES_PER_UNIT = 2.5


def test_anchors_alone_give_the_pose_of_their_images_and_no_other(ros_domain):
    with running(mode="hloc") as setup:
        setup.mount()
        for index in (0, 7, 19):
            status = setup.send_anchor_alone(index)
            assert (status.state, status.support) == (LocalizationStatus.LOCALIZED, LocalizationStatus.SUPPORT_ANCHOR)
            assert status.map_name == "room"
        setup.wait_for(lambda: len(setup.probe.poses) == 3, "poses")
        corrections, bases = setup.probe.edge("map", "odom"), setup.probe.edge("odom", "base_link")
        assert sorted(bases) == [stamp_of(index) for index in (0, 7, 19)]
        for index in (0, 7, 19):
            assert bases[stamp_of(index)].is_close(SE3.identity(), 1e-6)
            assert corrections[stamp_of(index) + AHEAD_NS].is_close(map_from_base(index), 1e-6)
        setup.settle()
        assert not setup.probe.odoms  # its velocity would be made up


def test_anchors_that_fail_to_come_are_a_loss(ros_domain):
    with running(*parameters(fusion__state__lost_without_pose_s=0.3), mode="hloc") as setup:
        setup.mount()
        setup.send_anchor_alone(0)
        setup.probe.send_no_anchor(4)
        status = setup.wait_for_status(4, 0)
        assert (status.state, status.reason) == (LocalizationStatus.DEGRADED, "NO_RETRIEVAL")
        setup.probe.send_no_anchor(10)
        assert setup.wait_for_status(10, 0).state == LocalizationStatus.LOST
        setup.settle()
        assert len(setup.probe.poses) == 1


def test_odometry_alone_gives_metres_in_odom_and_nothing_in_a_map(ros_domain):
    scale = OdometryScale(METRES_PER_UNIT, 0.01)
    with running(mode="odom") as setup:
        setup.mount()
        unscaled = setup.send_frame(0)
        assert (unscaled.state, unscaled.reason) == (LocalizationStatus.UNINITIALIZED, "SCALE_UNSET")
        for index in range(1, 40):
            status = setup.send_frame(index, scale=scale)
            assert (status.state, status.reason, status.metric) == (LocalizationStatus.UNINITIALIZED, "NO_MAP", True)
        setup.wait_for(lambda: len(setup.probe.odoms) == 39, "odometry")
        bases = setup.probe.edge("odom", "base_link")
        assert sorted(bases) == [stamp_of(index) for index in range(1, 40)]
        for index in range(1, 40):
            assert bases[stamp_of(index)].is_close(base_since_first(index), 1e-6)
        setup.settle()
        assert not setup.probe.edge("map", "odom")
        assert not setup.probe.poses


def base_since_first(index: int) -> SE3:
    """True motion of the base since frame 1, in metres."""
    unscaled = odom_from_camera(1).inverse @ odom_from_camera(index)
    step = SE3(unscaled.rotation, METRES_PER_UNIT * np.asarray(unscaled.translation))
    return BASE_FROM_CAMERA @ step @ BASE_FROM_CAMERA.inverse
