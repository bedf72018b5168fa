"""Blurred and noisy images are found at half their size, as they are given; sharp ones take no time for it."""

import cv2
import numpy as np
import pytest
from seen_copies import LONGEST, Camera
from synthetic_map import is_right

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization.image_copies import AS_GIVEN, HALF_RISK_SHARE, CopyChooser, ImageCopy

HALF = ImageCopy(is_half=True)


@pytest.mark.parametrize("lacks_others", [False, True])
def test_an_image_is_found_at_half_its_size_as_it_is_given(world, near, lacks_others):
    camera = Camera(world, near, HALF, lacks_others=lacks_others)
    anchor = camera.engine.localize(camera.frame)
    assert is_right(anchor, near, 0.02)
    away = np.linalg.norm(anchor.inlier_pixels[:, None] - camera.view.keypoints[None], axis=2).min(axis=1)
    assert away.max() < 1e-3  # pixels of the image as given
    assert camera.extractor.looked == [AS_GIVEN, HALF]


def test_an_image_that_is_found_is_looked_at_once(world, near):
    camera = Camera(world, near, AS_GIVEN)
    assert isinstance(camera.engine.localize(camera.frame), AnchorPose)
    assert camera.extractor.looked == [AS_GIVEN]


def test_too_few_features_are_no_reason_to_turn_an_image(world, near):
    camera = Camera(world, near, ImageCopy(2), lacks_others=True)
    assert camera.engine.localize(camera.frame).reason is Reason.FEW_FEATURES
    assert camera.extractor.looked == [AS_GIVEN, HALF]


def test_an_image_whose_features_are_given_is_not_made_smaller(world, near):
    camera = Camera(world, near, HALF)
    features = camera.extractor.extract(camera.frame.image)
    assert camera.engine.localize(camera.frame, features=features).reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
    assert camera.extractor.looked == [AS_GIVEN]


def test_a_blurred_image_of_a_turned_camera_is_found_upright(world, near):
    camera = Camera(world, near, ImageCopy(2))
    assert isinstance(camera.engine.localize(camera.frame), AnchorPose)
    camera.extractor.copies = [ImageCopy(2, is_half=True)]
    anchor = camera.engine.localize(camera.frame)
    assert is_right(anchor, near, 0.02)
    assert camera.extractor.looked[-2:] == [ImageCopy(2), ImageCopy(2, is_half=True)]


def test_a_pose_by_half_the_size_may_have_less_risk(world, near):
    """Each look is a chance of a wrong pose."""
    camera = Camera(world, near, AS_GIVEN)
    risk = 1.0 - camera.engine.localize(camera.frame).probability
    at_once, later = (camera.strict_engine(max_risk=1.2 * risk) for _ in range(2))
    assert isinstance(at_once.localize(camera.frame), AnchorPose)
    camera.extractor.copies = [HALF]
    assert isinstance(later.localize(camera.frame), Rejection)
    assert isinstance(camera.strict_engine(max_risk=1.2 * risk / HALF_RISK_SHARE).localize(camera.frame), AnchorPose)


def test_a_camera_whose_last_image_was_found_at_half_its_size_may_have_all_the_risk_there(world):
    copies, one = CopyChooser(3), CameraCalibration(world.camera, CalibrationSource.GIVEN)
    shares = [copies.risk_share(one, HALF)]
    for copy in (HALF, AS_GIVEN):
        copies.found(one, copy)
        shares.append(copies.risk_share(one, HALF))
    assert shares == [HALF_RISK_SHARE, 1.0, HALF_RISK_SHARE]
    copies.found(None, HALF)
    assert copies.risk_share(None, HALF) == HALF_RISK_SHARE


def halves_after(copies, calibration, reason=Reason.FEW_INLIERS):
    """Whether each of the next twelve images that are not found is searched at half its size."""
    return [any(copy.is_half for copy in copies.others(calibration, reason)) for _ in range(12)]


def test_where_images_follow_soon_those_after_one_that_is_found_are_searched_at_half_their_size(world):
    """Blur is short; a camera that is lost for long searches hardly less often."""
    copies, one = CopyChooser(1), CameraCalibration(world.camera, CalibrationSource.GIVEN)
    assert all(halves_after(copies, one))
    copies.found(one, HALF)
    assert halves_after(copies, one) == [True] * 4 + [False, False, False, True] * 2
    assert all(halves_after(copies, one, Reason.FEW_FEATURES))
    alone = CopyChooser(3)
    alone.found(one, AS_GIVEN)
    assert all(halves_after(alone, one))


def test_a_camera_whose_image_was_found_at_half_its_size_begins_with_the_next_as_it_is(world, near):
    camera = Camera(world, near, HALF)
    camera.engine.localize(camera.frame)
    assert camera.engine.extract(camera.frame).copy == AS_GIVEN


@pytest.mark.parametrize("reason", [Reason.AMBIGUOUS_PLACE, Reason.UNKNOWN_INTRINSICS, Reason.PLANAR_POINTS])
def test_other_reasons_are_no_reason_for_a_second_look(reason):
    assert not CopyChooser(3).others(None, reason)


@pytest.mark.parametrize("copy", [ImageCopy(quarters, is_half=True) for quarters in range(4)])
@pytest.mark.parametrize("size", [(640, 480), (641, 479), (2000, 1100)])
def test_keypoints_of_a_copy_keep_their_places(copy, size):
    place = np.array([301.3, 77.8])
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    image = np.round(250.0 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 200.0)).astype(np.uint8)
    small = copy.of(image, LONGEST)
    assert max(small.shape) == round(min(max(size), LONGEST) / 2)
    moments = cv2.moments(small)
    keypoint = np.float32([[moments["m10"] / moments["m00"] + 0.5, moments["m01"] / moments["m00"] + 0.5]])
    angle = np.float32([[3.0, 0.0]])
    features = LocalFeatures(keypoint, np.ones(1, np.float32), np.ones((1, 4)), small.shape[::-1], angle)
    given = copy.features_as_given(features, size)
    np.testing.assert_allclose(given.keypoints[0], place, atol=0.1)
    assert given.image_size == size
    assert given.scales_angles[0, 0] == pytest.approx(3.0 * max(size) / max(small.shape), rel=2e-3)
