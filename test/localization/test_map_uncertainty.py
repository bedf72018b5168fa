"""A map tells by its own images how far it is off."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import World

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.core.manifest import UNCERTAINTY_VERSION, ReducedInfo
from visloc_ros.core.map import NO_POINT
from visloc_ros.core.tangent import pose_difference
from visloc_ros.localization import leave_one_out as leave_one_out_module
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.map_uncertainty import MapUncertainty, map_uncertainty, measure_map_uncertainty
from visloc_ros.localization.pose import solve_pose
from visloc_ros.localization.view_change import Viewpoints, view_change

OF_POSE = np.diag([1e-4, 2e-4, 3e-4, 1e-5, 2e-5, 3e-5])
NOTHING = np.zeros((6, 6))
CONFIG = PoseConfig(shared_error=0.0, max_error_px=40.0)
TOGETHER = PoseConfig(max_error_px=40.0)
NOISE_PX = 0.7
TURN, SHIFT = np.deg2rad(0.4), 0.04


def moved(rng, pose):
    return SE3(rotation_matrix(rng.normal(0.0, TURN, 3)) @ pose.rotation, pose.translation + rng.normal(0.0, SHIFT, 3))


def turned(pose, angle):
    return SE3(pose.rotation @ rotation_matrix([0.0, angle, 0.0]), pose.translation)


def triangulated(images, count):
    """Points (P, 3) nearest to the rays of all images that see them."""
    normal, right = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for image in images:
        kept = np.flatnonzero(image.point_rows != NO_POINT)
        plane = rays(image.camera, image.features.keypoints[kept].astype(float))
        directions = np.column_stack([plane, np.ones(len(kept))]) @ image.map_from_camera.rotation.T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
        np.add.at(normal, image.point_rows[kept], across)
        np.add.at(right, image.point_rows[kept], across @ image.map_from_camera.translation)
    return np.linalg.solve(normal, right[:, :, None])[:, :, 0]


@pytest.fixture(scope="module")
def world():
    return World(images=40, points=300)


@pytest.fixture(scope="module")
def warped(world):
    """The map as it is when the poses of its images are somewhat wrong."""
    rng = np.random.default_rng(0)
    return tuple(replace(image, map_from_camera=moved(rng, image.map_from_camera)) for image in world.map.images)


def part(world, images):
    return replace(world.map, images=images, points=triangulated(images, len(world.points)))


@pytest.fixture(scope="module")
def noisy(world):
    """The map as it is when its images stand where they claim, and each keypoint errs for itself."""
    rng = np.random.default_rng(1)
    images = []
    for image in world.map.images:
        noise = rng.normal(0.0, NOISE_PX, image.features.keypoints.shape)
        features = replace(image.features, keypoints=(image.features.keypoints + noise).astype(np.float32))
        images.append(replace(image, features=features))
    return part(world, tuple(images))


@pytest.fixture(scope="module")
def exact(world):
    return map_uncertainty(world.map, CONFIG)


def nees(images, map_, warp):
    """Squared errors of images found in a map, in units of their covariance."""
    squares = []
    for image in images:
        kept = np.flatnonzero(image.point_rows != NO_POINT)
        pixels, points = image.features.keypoints[kept].astype(float), map_.points[image.point_rows[kept]]
        found = solve_pose(pixels, points, image.camera, CONFIG)
        pose, known = found.map_from_camera, image.map_from_camera
        turn = rotation_vector(known.rotation @ pose.rotation.T)
        error = np.concatenate([known.translation - pose.translation, turn])
        own, shared = found.own_covariance, found.shared_covariance
        covariance = found.covariance if warp is None else own + warp.of_pose(pose, own, shared, points)
        squares.append(error @ np.linalg.solve(covariance, error))
    return np.array(squares)


def test_an_exact_map_has_no_warp(world, exact):
    assert (exact.info.position_rate, exact.info.rotation_rate) == (0.0, 0.0)
    assert not exact.of_pose(world.map.images[0].map_from_camera, OF_POSE, NOTHING, world.points).any()
    assert exact.info.own_error.position < 1e-3


def test_images_that_the_map_does_not_hold_err_as_its_own_do(world, warped):
    """Without the warp the errors seem ten times as large as claimed."""
    map_ = part(world, warped[::2])
    warp = map_uncertainty(map_, CONFIG)
    others = warped[1::2]
    assert np.mean(nees(others, map_, None)) > 60.0
    assert 2.0 < np.mean(nees(others, map_, warp)) < 12.0


def test_the_error_grows_with_the_view_change(world, warped):
    warp = map_uncertainty(part(world, warped), CONFIG)
    pose = warped[0].map_from_camera
    there = warp.of_pose(pose, OF_POSE, NOTHING, world.points)
    away = warp.of_pose(turned(pose, 0.05), OF_POSE, NOTHING, world.points)
    assert np.trace(away) > np.trace(there)
    assert there == pytest.approx(0.0, abs=1e-12)


def test_farther_off_than_its_own_images_validate_all_errors_grow_in_proportion(world, exact):
    pose, alone = world.map.images[0].map_from_camera, replace(world.map, images=world.map.images[:1])
    uncertainty = MapUncertainty(replace(exact.info, validated_change=0.2), alone)
    assert exact.info.validated_change > 0.2
    assert uncertainty.of_pose(turned(pose, 0.19), OF_POSE, NOTHING, world.points) == pytest.approx(np.zeros((6, 6)))
    assert uncertainty.of_pose(turned(pose, 0.6), OF_POSE, NOTHING, world.points) == pytest.approx(8.0 * OF_POSE)


def test_a_few_images_give_no_estimate(world, warped):
    warp = map_uncertainty(part(world, warped[:3]), CONFIG)
    assert (warp.info.position_rate, warp.info.rotation_rate, warp.info.shared_error) == (0.0, 0.0, 1.0)
    assert warp.info.own_error is None


def test_keypoints_err_together_as_far_as_the_map_shows(world, warped, noisy):
    """Where each errs for itself, the error that they might share is not counted; in a warped map more than it is."""
    exact, wrong = (measure_map_uncertainty(map_, TOGETHER) for map_ in (noisy, part(world, warped)))
    assert exact.shared_error < 0.2  # the least, as images of other cameras err more
    assert wrong.shared_error >= 1.0
    pose = world.map.images[0].map_from_camera
    known = replace(exact, position_rate=0.0, rotation_rate=0.0)
    assert MapUncertainty(known, world.map).of_pose(pose, NOTHING, OF_POSE, world.points) == pytest.approx(
        exact.shared_error * OF_POSE
    )


def test_poses_in_a_map_of_exact_poses_err_as_stated(world, noisy):
    """Without the map's own measure they would claim several times the variance."""
    uncertainty, squares, before = MapUncertainty(measure_map_uncertainty(noisy, TOGETHER), noisy), [], []
    rng = np.random.default_rng(2)
    for image in world.map.images:
        kept, pose = np.flatnonzero(image.point_rows != NO_POINT), image.map_from_camera
        pixels = image.features.keypoints[kept] + rng.normal(0.0, NOISE_PX, (len(kept), 2))
        points = noisy.points[image.point_rows[kept]]
        found = solve_pose(pixels, points, image.camera, TOGETHER)
        error, own = pose_difference(pose, found.map_from_camera), found.own_covariance
        stated = own + uncertainty.of_pose(pose, own, found.shared_covariance, points)
        squares.append(error @ np.linalg.solve(stated, error))
        before.append(error @ np.linalg.solve(found.covariance, error))
    assert 3.0 * np.mean(before) < np.mean(squares) < 9.0


def test_the_noise_of_keypoints_is_no_error_of_the_map(world, warped, noisy):
    exact, wrong = (measure_map_uncertainty(map_, TOGETHER) for map_ in (noisy, part(world, warped)))
    assert np.sqrt(np.trace(np.array(exact.image_covariance)[:3, :3])) < 0.5 * exact.own_error.position
    assert np.sqrt(np.trace(np.array(wrong.image_covariance)[:3, :3])) > 0.5 * wrong.own_error.position


def test_what_a_map_is_off_by_is_stated_for_people(world, warped):
    error = measure_map_uncertainty(part(world, warped), CONFIG).own_error
    assert error.images == len(warped)
    assert 0.5 * SHIFT < error.position < 4.0 * SHIFT
    assert 0.5 * np.degrees(TURN) < error.rotation_deg < 4.0 * np.degrees(TURN)
    assert error.depth == pytest.approx(np.median(Viewpoints.of(warped, world.points).depths), rel=0.2)
    assert 0.0 < error.point < error.depth / 10.0


def test_points_are_as_good_as_their_rays(world, noisy):
    errors = np.linalg.norm(noisy.points - world.points, axis=1)
    assert measure_map_uncertainty(noisy, TOGETHER).own_error.point == pytest.approx(
        np.sqrt(np.mean(errors**2)), rel=0.5
    )


def test_an_earlier_estimate_is_made_again_where_the_map_has_its_images(world):
    stored = replace(world.map.manifest.uncertainty, version=UNCERTAINTY_VERSION - 1)
    earlier = replace(world.map.manifest, uncertainty=stored)
    assert map_uncertainty(replace(world.map, manifest=earlier)).info.version == UNCERTAINTY_VERSION
    reduced = replace(earlier, reduced=ReducedInfo("landmarks", {}))
    assert map_uncertainty(replace(world.map, images=(), manifest=reduced)).info is stored


def test_what_the_manifest_states_is_not_measured_again(world, warped):
    map_ = part(world, warped[:10])
    info = map_.manifest.uncertainty
    assert map_uncertainty(map_).info is info
    assert map_uncertainty(map_, PoseConfig()).info is info
    assert map_uncertainty(map_, CONFIG).info != info  # by other options
    unknown = replace(map_, manifest=replace(map_.manifest, uncertainty=None))
    assert map_uncertainty(unknown).info != info


def test_view_changes_are_angles_plus_distances_as_share_of_the_depth(world):
    pose = world.map.images[0].map_from_camera
    rolled = rotation_matrix([0.0, 0.0, 0.4])  # shows the same from the same direction
    turned = SE3(
        pose.rotation @ rotation_matrix([0.0, 0.2, 0.0]) @ rolled, pose.translation + np.array([0.0, 0.0, 0.3])
    )
    views = replace(Viewpoints.of(world.map.images, world.points), depths=np.full(len(world.map.images), 3.0))
    assert views.changes(turned)[0] == pytest.approx(0.3)
    assert view_change(pose, 3.0, turned) == pytest.approx(0.3)


def test_what_an_image_shows_is_as_far_as_its_median_point(world):
    image = world.map.images[0]
    points = world.map.points[image.point_rows[image.point_rows != NO_POINT]]
    distances = np.linalg.norm(points - image.map_from_camera.translation, axis=1)
    assert Viewpoints.of(world.map.images, world.map.points).depths[0] == pytest.approx(np.median(distances))


def test_nothing_is_like_an_image_that_shows_nothing(world):
    blind = replace(world.map.images[0], point_rows=np.full_like(world.map.images[0].point_rows, NO_POINT))
    changes = Viewpoints.of([blind, world.map.images[1]], world.map.points).changes(blind.map_from_camera)
    assert changes[0] == np.inf
    assert np.isfinite(changes[1])


def test_a_large_map_is_judged_by_the_points_of_some_of_its_images(world, warped):
    """What the others show besides does not matter, and images that show nothing of it are not looked at."""
    map_ = part(world, warped)
    few = leave_one_out_module._Triangulation(map_, map_.images[:2])
    every = leave_one_out_module._Triangulation(map_, map_.images)
    for found, expected in zip(few.without([0, 1, 2], 1), every.without([0, 1, 2], 1), strict=True):
        assert len(found) > 20
        assert found == pytest.approx(expected)
