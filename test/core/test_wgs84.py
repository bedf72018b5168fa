import math

import numpy as np
import pytest

from visloc_ros.core.wgs84 import EnuFrame, distances_m

LUND = EnuFrame(55.705, 13.187, 60.0)


@pytest.mark.parametrize("frame", [LUND, EnuFrame(-33.9, 151.2), EnuFrame(89.9, 10.0), EnuFrame(0.0, 179.999, -20.0)])
def test_ten_kilometres_there_and_back_are_a_millimetre_apart_at_most(frame):
    points = np.random.default_rng(0).uniform(-10e3, 10e3, (200, 3)) * [1.0, 1.0, 0.01]
    assert np.abs(frame.from_geodetic(frame.to_geodetic(points)) - points).max() < 1e-3


def test_a_degree_of_latitude_and_longitude_measure_what_the_ellipsoid_has_there():
    step = 1e-4
    east_north_up = LUND.from_geodetic([[55.705 + step, 13.187, 60.0], [55.705, 13.187 + step, 60.0]]) / step
    lat, a, e2 = math.radians(55.705), 6378137.0, 0.00669437999014
    root = math.sqrt(1 - e2 * math.sin(lat) ** 2)
    assert east_north_up[0, 1] == pytest.approx(math.radians((a * (1 - e2) / root**3) + 60), rel=1e-5)
    assert east_north_up[1, 0] == pytest.approx(math.radians((a / root + 60) * math.cos(lat)), rel=1e-5)


def test_the_frame_stands_on_the_earth():
    earth_from_enu = EnuFrame(0.0, 90.0).earth_from_enu
    assert earth_from_enu.translation == pytest.approx([0.0, 6378137.0, 0.0], abs=1e-3)
    assert earth_from_enu.rotation == pytest.approx(np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]), abs=1e-9)


@pytest.mark.parametrize(("lat", "lng"), [(55.7, 13.2), (-60.0, 179.9999), (0.0, 0.0)])
def test_distances_are_those_of_the_local_frame(lat, lng):
    offsets = np.array([[1000.0, 0.0, 0.0], [0.0, -700.0, 0.0], [-30.0, 40.0, 0.0]])
    geodetic = EnuFrame(lat, lng).to_geodetic(offsets)
    assert distances_m(geodetic[:, :2], lat, lng) == pytest.approx(np.linalg.norm(offsets, axis=1), rel=1e-4)
