"""Images smeared by a known motion: how far is measured in the image, and poses of them say how far they may be off."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from seen_copies import Camera
from test_pose import PINHOLE, pose_error, visible_points

from testing.integrity import PoseAccuracy
from visloc_ros.core.map import open_map
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.image_copies import AS_GIVEN
from visloc_ros.localization.motion_blur import smear_covariance
from visloc_ros.localization.pose import solve_pose
from visloc_ros.localization.uncertainty import covariance_by_smear
from visloc_ros.simulation import SimulationConfig, simulate

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
THREE_SIGMA = 20.06  # squared error, in 6 dimensions, that one of 370 poses exceeds


def drawn(seed=0, size=(640, 480)):
    """An image of polygons with edges in all directions."""
    rng = np.random.default_rng(seed)
    image = np.full(size[::-1], 128, np.uint8)
    for _ in range(60):
        corners = rng.uniform([0, 0], size) + rng.uniform(-0.15, 0.15, (4, 2)) * size[0]
        cv2.fillPoly(image, [corners.astype(np.int32)], int(rng.integers(256)), cv2.LINE_AA)
    return image


def smeared(image, length_px, angle):
    """The mean of the image over a motion of constant speed, its middle where the image is."""
    places = np.linspace(-0.5, 0.5, 4 * length_px + 1)[:, None] * length_px * [np.cos(angle), np.sin(angle)]
    size = image.shape[1::-1]
    moved = [
        cv2.warpAffine(image, np.array([[1, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REFLECT) for x, y in places
    ]
    return np.round(np.mean(moved, axis=0)).astype(np.uint8)


def noisy(image, sigma):
    return np.clip(image + np.random.default_rng(0).normal(0.0, sigma, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.7, 1.6, 2.6])
@pytest.mark.parametrize("length_px", [20, 30])
def test_length_and_direction_of_a_smear_are_measured(length_px, angle):
    covariance = smear_covariance(smeared(drawn(), length_px, angle))
    assert np.sqrt(12.0 * np.trace(covariance)) == pytest.approx(length_px, rel=0.25)
    direction = np.linalg.eigh(covariance)[1][:, 1]
    assert abs(direction @ [np.cos(angle), np.sin(angle)]) > np.cos(np.radians(15.0))


def test_it_is_measured_in_pixels_of_the_image_as_given():
    small = smeared(drawn(), 30, 0.7)
    large = cv2.resize(np.dstack([small] * 3), (1280, 960), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(smear_covariance(large), 4.0 * smear_covariance(small), rtol=0.1, atol=2.0)


@pytest.mark.parametrize("seed", range(3))
def test_what_softens_edges_of_all_directions_is_no_smear(seed):
    sharp = drawn(seed)
    for image in (sharp, cv2.GaussianBlur(sharp, (0, 0), 3.0), noisy(sharp, 20.0), sharp // 8):
        assert np.trace(smear_covariance(image)) < 1.0


def test_a_smear_is_seen_through_noise():
    covariance = smear_covariance(noisy(smeared(drawn(), 30, 0.7), 10.0))
    assert np.sqrt(12.0 * np.trace(covariance)) == pytest.approx(30.0, rel=0.35)


@pytest.mark.parametrize("shape", [(480, 640), (1, 1), (2, 3, 3)])
def test_an_image_without_edges_shows_none(shape):
    assert not smear_covariance(np.full(shape, 200, np.uint8)).any()


def test_a_single_spot_says_nothing():
    image = np.zeros((480, 640), np.uint8)
    image[:2, -2:] = 255
    assert not smear_covariance(image).any()


def test_the_covariance_predicts_errors_along_a_smear():
    """Keypoints at one end of their streaks, neighbours alike: the residuals show little of how far the pose is off."""
    rng = np.random.default_rng(5)
    direction, length_px = np.array([np.cos(0.4), np.sin(0.4)]), 20.0
    smear = length_px**2 / 12.0 * np.outer(direction, direction)
    config, without, with_it = PoseConfig(max_error_px=40.0, loss_scale_px=40.0), [], []
    for _ in range(60):
        pixels, points = visible_points(rng, PINHOLE, 150)
        distances = np.linalg.norm((pixels[:, None] - pixels) / [640.0, 480.0], axis=2)
        shifts = rng.multivariate_normal(np.zeros(150), length_px**2 / 12.0 * np.exp(-2.0 * distances**2))
        observed = pixels + shifts[:, None] * direction + rng.normal(0.0, 1.0, pixels.shape)
        solution = solve_pose(observed, points, PINHOLE, config)
        error = pose_error(solution.map_from_camera)
        inliers = solution.inliers
        added = covariance_by_smear(solution.map_from_camera, observed[inliers], points[inliers], PINHOLE, smear)
        for values, covariance in ((without, solution.covariance), (with_it, solution.covariance + added)):
            values.append(error @ np.linalg.solve(covariance, error))
    assert np.mean(without) > 20.0
    assert 1.0 < np.mean(with_it) < 8.0


def test_the_pose_of_a_smeared_image_is_less_certain(world, near):
    camera = Camera(world, near, AS_GIVEN)
    features = camera.view
    size = features.image_size
    sharp, blurred = (
        camera.engine.localize(replace(camera.frame, image=image), features=features)
        for image in (drawn(size=size), smeared(drawn(size=size), 40, 0.7))
    )
    np.testing.assert_array_equal(sharp.map_from_camera.matrix, blurred.map_from_camera.matrix)
    np.testing.assert_array_equal(sharp.map_covariance, blurred.map_covariance)  # neighbours do not share it
    assert np.trace(blurred.covariance[:3, :3]) > 4.0 * np.trace(sharp.covariance[:3, :3])
    assert np.linalg.eigvalsh(blurred.covariance - sharp.covariance).min() > -1e-12


def test_the_pose_of_a_rendered_motion_is_within_its_covariance():
    """The camera turns by 30 pixels while it exposes, and is placed 0.4 m off: without the smear its error is 79."""
    room = simulate(SimulationConfig(rate_hz=1.0, exposure_ms=150.0), "localize")
    frame = room.frame(15)
    anchor = AnchorEngine(open_map(DEMO_MAP)).localize(frame)
    truth = room.ground_truth.nearest(frame.stamp_ns, 0)
    assert PoseAccuracy.of(anchor.map_from_camera, anchor.covariance, truth).nees < THREE_SIGMA
