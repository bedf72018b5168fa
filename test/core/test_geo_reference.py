"""Poses of maps on the earth: position and heading there, with errors that hold."""

import math

import numpy as np
import pytest

from visloc_ros.core.errors import ManifestError, MapError
from visloc_ros.core.geo_reference import AXES_SIGMA_DEG, GEO_SIGMA_M, GeoReference
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.manifest import Manifest, read_manifest, write_manifest

LUND = GeoReference(55.7, 13.2, 60.0, axes_sigma_deg=0.5)
LOOKS_NORTH = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
NO_ERROR = np.zeros((6, 6))
MAJOR, SQUARED_ECCENTRICITY = 6_378_137.0, 6.694_379_990_14e-3  # of WGS 84


def camera(heading_deg=0.0, position=(0.0, 0.0, 0.0), pitch_deg=0.0):
    pitched = rotation_matrix([math.radians(pitch_deg), 0.0, 0.0])
    turned = rotation_matrix([0.0, 0.0, -math.radians(heading_deg)])
    return SE3(turned @ LOOKS_NORTH @ pitched, np.array(position))


def test_a_position_is_that_of_the_ellipsoid_and_the_heading_clockwise_from_north():
    pose = LUND.geo_pose(camera(30.0, (40.0, 90.0, 5.0)), NO_ERROR)
    w = 1.0 - SQUARED_ECCENTRICITY * math.sin(math.radians(55.7)) ** 2
    prime, meridian = MAJOR / math.sqrt(w), MAJOR * (1.0 - SQUARED_ECCENTRICITY) / w**1.5
    assert pose.latitude == pytest.approx(55.7 + math.degrees(90.0 / (meridian + 65.0)), abs=1e-8)
    assert pose.longitude == pytest.approx(
        13.2 + math.degrees(40.0 / ((prime + 65.0) * math.cos(math.radians(pose.latitude)))), abs=1e-8
    )
    assert pose.altitude == pytest.approx(65.0, abs=1e-3)
    assert pose.heading_deg == pytest.approx(30.0, abs=1e-3)
    assert str(pose).endswith("+-5.0 m alt 65.0 m heading 30.0 deg")
    np.testing.assert_allclose(LUND.east_north(pose.latitude, pose.longitude), [40.0, 90.0], atol=1e-3)


def test_far_from_the_origin_north_is_that_of_the_place():
    pose = LUND.geo_pose(camera(0.0, (20_000.0, 0.0, 0.0)), NO_ERROR)
    convergence = (pose.longitude - 13.2) * math.sin(math.radians(55.7))
    assert pose.heading_deg == pytest.approx(convergence, rel=0.01)
    assert convergence > 0.2


@pytest.mark.parametrize("pitch_deg", [0.0, 50.0])
def test_the_errors_are_those_of_the_pose_and_of_the_map(pitch_deg):
    rng = np.random.default_rng(0)
    root = np.diag([0.3, 0.3, 0.3, 0.01, 0.01, 0.01]) @ rng.normal(size=(6, 6))
    covariance = root @ root.T
    pose = LUND.geo_pose(camera(70.0, pitch_deg=pitch_deg), covariance)
    samples = rng.multivariate_normal(np.zeros(6), covariance, 4000)
    rotation = camera(70.0, pitch_deg=pitch_deg).rotation
    axes = np.array([rotation_matrix(one[3:]) @ rotation[:, 2] for one in samples])
    headings = np.degrees(np.arctan2(axes[:, 0], axes[:, 1]))
    assert pose.heading_sigma_deg == pytest.approx(math.hypot(headings.std(), 0.5), rel=0.05)
    of_map = GEO_SIGMA_M**2 * np.diag([1.0, 1.0, 4.0])
    np.testing.assert_allclose(pose.covariance, covariance[:3, :3] + of_map, atol=1e-9)


def test_what_is_not_known_is_none():
    pose = GeoReference(55.7, 13.2).geo_pose(camera(pitch_deg=-90.0), NO_ERROR)
    assert (pose.altitude, pose.heading_deg, pose.heading_sigma_deg) == (None, None, None)
    assert pose.to_mapping()["altitude"] is None


@pytest.mark.parametrize("place", [(91.0, 0.0), (0.0, 181.0), (float("nan"), 0.0), (0.0, 0.0, float("inf"))])
def test_what_is_no_place_is_refused(place):
    with pytest.raises(MapError):
        GeoReference(*place)


def manifest_of(**values):
    return Manifest("site", "photos", {}, **({"metric": True, "gravity_aligned": True} | values))


def test_a_manifest_says_whether_its_map_is_on_the_earth(tmp_path):
    origin = {"latitude": 55.7, "longitude": 13.2}
    assert manifest_of(geo_origin=origin).on_earth == GeoReference(55.7, 13.2, None, AXES_SIGMA_DEG)
    aligned = manifest_of(geo_origin={**origin, "altitude": 60.0}, alignment={"residuals": {"axes_error_deg": 0.5}})
    assert aligned.on_earth == LUND
    for other in ({}, {"metric": False, "geo_origin": origin}, {"gravity_aligned": False, "geo_origin": origin}):
        assert manifest_of(**other).on_earth is None
    for garbled in ({**origin, "latitude": "north"}, {**origin, "longitude": 200.0}):
        write_manifest(tmp_path, manifest_of(geo_origin=garbled))
        with pytest.raises(ManifestError, match="geo_origin"):
            read_manifest(tmp_path)
