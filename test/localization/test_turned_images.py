"""Images that lie on their side or stand upside down are found as they are, and a camera's turn is remembered."""

from dataclasses import replace

import numpy as np
import pytest
from seen_copies import Camera
from synthetic_map import World, is_right, near_image

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Reason
from visloc_ros.localization.image_copies import AS_GIVEN, CopyChooser, ImageCopy, turned_image


@pytest.mark.parametrize("quarters", range(4))
def test_an_image_is_found_as_it_is_given_however_it_is_turned(world, near, quarters):
    camera = Camera(world, near, ImageCopy(quarters))
    anchor = camera.engine.localize(camera.frame)
    assert is_right(anchor, near, 0.02)
    assert rotation_angle_deg(anchor.map_from_camera.rotation, near.rotation) < 0.1
    away = np.linalg.norm(anchor.inlier_pixels[:, None] - camera.view.keypoints[None], axis=2).min(axis=1)
    assert away.max() < 1e-3  # pixels of the image as given
    upright = Camera(world, near, AS_GIVEN)
    again = upright.engine.localize(upright.frame)
    np.testing.assert_allclose(np.diag(anchor.covariance), np.diag(again.covariance), rtol=0.5)


def test_the_turn_of_a_camera_is_tried_first_once_it_is_known(world, near):
    camera = Camera(world, near, ImageCopy(2))
    assert isinstance(camera.engine.localize(camera.frame), AnchorPose)
    assert camera.extractor.looked == [AS_GIVEN, ImageCopy(0, is_half=True), ImageCopy(2)]
    assert isinstance(camera.engine.localize(camera.frame), AnchorPose)
    assert camera.extractor.looked[3:] == [ImageCopy(2)]
    other = replace(camera.frame, calibration=CameraCalibration(world.camera, CalibrationSource.GIVEN))
    assert camera.engine.extract(other).copy == AS_GIVEN


def test_with_one_turn_a_camera_on_its_side_is_found_after_some_images(world, near):
    camera = Camera(world, near, ImageCopy(3), most_turns=1)
    results = [camera.engine.localize(camera.frame) for _ in range(4)]
    assert [isinstance(result, AnchorPose) for result in results] == [False, False, True, True]
    turns = [copy.quarters for copy in camera.extractor.looked if not copy.is_half]
    assert turns == [0, 2, 0, 1, 0, 3, 3]


def test_an_image_that_no_turn_finds_keeps_the_reason_of_the_image_as_it_is(world, near):
    elsewhere = World(5)
    camera = Camera(world, near, AS_GIVEN)
    camera.extractor.view = elsewhere.view(near_image(elsewhere))
    result = camera.engine.localize(camera.frame)
    assert result.reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
    assert len(camera.extractor.looked) == 5
    assert camera.engine.extract(camera.frame).copy == AS_GIVEN


def test_an_image_whose_features_are_given_is_not_turned(world, near):
    camera = Camera(world, near, ImageCopy(2))
    features = camera.extractor.extract(camera.frame.image)
    assert camera.engine.localize(camera.frame, features=features).reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
    assert camera.extractor.looked == [AS_GIVEN]


@pytest.mark.parametrize("quarters", range(-4, 5))
def test_features_turn_with_their_image(quarters):
    image = np.zeros((6, 9), np.uint8)
    image[1, 7] = 255
    angles = np.array([[2.0, 0.0]], np.float32)
    features = LocalFeatures(np.float32([[7.5, 1.5]]), np.ones(1, np.float32), np.ones((1, 4)), (9, 6), angles)
    turned, there = features.turned(quarters), turned_image(image, quarters)
    assert turned.image_size == there.shape[::-1]
    x, y = turned.keypoints[0] - 0.5
    assert there[int(y), int(x)] == 255
    right = np.float32([[8.5, 1.5]])  # the angle 0 points to the right
    step = (replace(features, keypoints=right).turned(quarters).keypoints - turned.keypoints)[0]
    angle = turned.scales_angles[0, 1]
    np.testing.assert_allclose(step, [np.cos(angle), np.sin(angle)], atol=1e-5)


def turns_after(chooser, calibration):
    """The turns that are tried for an image that is not found as it is expected to be."""
    return [copy.quarters for copy in chooser.others(calibration, Reason.FEW_INLIERS) if not copy.is_half]


def test_other_turns_come_in_order_over_the_images_of_a_camera(world):
    copies, one = CopyChooser(1), CameraCalibration(world.camera, CalibrationSource.GIVEN)
    assert [turns_after(copies, one) for _ in range(4)] == [[2], [1], [3], [2]]
    copies.found(one, ImageCopy(3))
    rarely = [turns_after(copies, one) for _ in range(12)]
    assert rarely == [[], [], [], [0], [], [], [], [2], [], [], [], [1]]
    assert turns_after(CopyChooser(3), None) == [2, 1, 3]
