"""A start whose depths were noise: adjustment draws cameras and points together, and the segment is given up."""

from itertools import islice

import pytest

from visloc_ros.core.types import OdometryPose, Reason
from visloc_ros.odometry.klt import KltConfig, KltOdometry
from visloc_ros.simulation import SimulationConfig, simulate

CAMERA = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=15.0, duration_s=4.0, samples=1)


@pytest.fixture(scope="module")
def walk():
    return list(islice(simulate(CAMERA, "localize"), 32))


@pytest.mark.parametrize("factor", [0.1, 0.5])
def test_a_young_segment_in_which_all_has_come_near_is_given_up_and_another_one_begins(walk, factor):
    odometry, results, shrunk = KltOdometry(KltConfig()), [], None
    for index, frame in enumerate(walk):
        results.append(odometry.track(frame))
        odometry.settle()
        segment = odometry._segment
        if shrunk is None and segment is not None and index > 6:
            segment._map.rescale(factor, segment.camera_from_odom.inverse.translation)
            shrunk = index
    odometry.close()
    after = results[shrunk + 1]
    segments = {one.segment for one in results if isinstance(one, OdometryPose)}
    if factor < 0.15:
        assert after.reason is Reason.DEGENERATE_MOTION
        assert segments == {0, 1}
        assert isinstance(results[-1], OdometryPose)
    else:
        assert isinstance(after, OdometryPose), "half as near is no reason"
        assert segments == {0}
