"""What the diagnostics say of the newest frames."""

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import OdometryPose, OdometryScale, Reason, Rejection
from visloc_ros.nodes.tracking_output import OdometryStatistics

STEP_NS = 50_000_000


def pose(index, milliseconds=10.0, **more):
    return OdometryPose(index * STEP_NS, SE3.identity(), 2, 80, stage_ms={"track": milliseconds}, **more)


def test_nothing_is_said_of_no_frames():
    assert OdometryStatistics().values() == {}


def test_rate_latency_and_losses_are_told():
    statistics = OdometryStatistics()
    for index in range(100):
        statistics.add(pose(index, milliseconds=50.0 if index % 10 == 0 else 10.0))
    statistics.add(Rejection(100 * STEP_NS, Reason.BLURRED))
    values = statistics.values()
    assert (values["tracked"], values["lost BLURRED"]) == (100, 1)
    assert values["frames a second"] == "20.0"
    assert (values["latency p50 [ms]"], values["latency p95 [ms]"]) == ("10.0", "50.0")
    assert "segment" not in values


def test_scale_and_up_are_told_once_they_are_known():
    statistics = OdometryStatistics()
    statistics.add(pose(1))
    assert statistics.values()["segment"] == 2
    assert "metres a unit" not in statistics.values()
    statistics.add(pose(2, scale=OdometryScale(0.25, 0.011), up_in_odom=np.array([0.0, -1.0, 0.0])))
    values = statistics.values()
    assert values["metres a unit"] == "0.25 +- 1.1 %"
    assert values["up in odometry"] == "0.000 -1.000 0.000"


def test_a_looped_bag_does_not_confuse_the_rate():
    statistics = OdometryStatistics()
    for index in (100, 101, 1, 2, 3):
        statistics.add(pose(index))
    assert statistics.values()["frames a second"] == "20.0"
