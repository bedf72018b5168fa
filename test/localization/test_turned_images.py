"""Images that lie on their side or stand upside down are found as they are, and a camera's turn is remembered."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import DIM, INFO, MATCHER, World, is_right, near_image, unit

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Frame, Reason
from visloc_ros.features.types import OneByOne
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.turned_images import Turns, turned_features, turned_image


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def near(world):
    return near_image(world)


class UprightExtractor(OneByOne):
    """Finds the features of a view in its image; unless that is set upright, they have other descriptors."""

    info = INFO
    descriptor_dim = DIM

    def __init__(self, view, quarters):
        self.view, self.quarters = view, quarters
        self.looked = 0

    def extract(self, image):
        self.looked += 1
        given = marked(self.view, self.quarters)
        turn = next(turn for turn in range(4) if np.array_equal(turned_image(given, turn), image))
        features = turned_features(self.view, turn)
        if turn == self.quarters:
            return features
        others = unit(np.random.default_rng(100 + turn).normal(size=features.descriptors.shape))
        return replace(features, descriptors=others)


def marked(view, quarters):
    """An image of a view that is upright once it is turned by quarters: its first pixel is then marked."""
    width, height = view.image_size
    size = (height, width) if quarters % 2 == 0 else (width, height)
    upright = np.zeros(size, np.uint8)
    upright[0, 0] = 255
    return turned_image(upright, -quarters)


class Camera:
    """A camera that takes a view, its image upright after some quarter turns, and an engine that searches it."""

    def __init__(self, world, pose, quarters, most_turns=3):
        self.view = world.view(pose)
        self.extractor = UprightExtractor(self.view, quarters)
        self.engine = AnchorEngine(world.map, AnchorConfig(), self.extractor, MATCHER, most_turns=most_turns)
        self.calibration = CameraCalibration(world.camera, CalibrationSource.GIVEN)
        self.frame = Frame(123, marked(self.view, quarters), world.camera, calibration=self.calibration)


@pytest.mark.parametrize("quarters", range(4))
def test_an_image_is_found_as_it_is_given_however_it_is_turned(world, near, quarters):
    camera = Camera(world, near, quarters)
    anchor = camera.engine.localize(camera.frame)
    assert is_right(anchor, near, 0.02)
    assert rotation_angle_deg(anchor.map_from_camera.rotation, near.rotation) < 0.1
    away = np.linalg.norm(anchor.inlier_pixels[:, None] - camera.view.keypoints[None], axis=2).min(axis=1)
    assert away.max() < 1e-3  # pixels of the image as given
    upright = Camera(world, near, 0)
    again = upright.engine.localize(upright.frame)
    np.testing.assert_allclose(np.diag(anchor.covariance), np.diag(again.covariance), rtol=0.5)


def test_the_turn_of_a_camera_is_tried_first_once_it_is_known(world, near):
    camera = Camera(world, near, 2)
    assert isinstance(camera.engine.localize(camera.frame), AnchorPose)
    assert camera.extractor.looked == 2
    assert isinstance(camera.engine.localize(camera.frame), AnchorPose)
    assert camera.extractor.looked == 3
    other = replace(camera.frame, calibration=CameraCalibration(world.camera, CalibrationSource.GIVEN))
    assert camera.engine.extract(other).quarters == 0


def test_with_one_turn_a_camera_on_its_side_is_found_after_some_images(world, near):
    camera = Camera(world, near, 3, most_turns=1)
    results = [camera.engine.localize(camera.frame) for _ in range(4)]
    assert [isinstance(result, AnchorPose) for result in results] == [False, False, True, True]
    assert camera.extractor.looked == 2 + 2 + 2 + 1


def test_an_image_that_no_turn_finds_keeps_the_reason_of_the_image_as_it_is(world, near):
    elsewhere = World(5)
    camera = Camera(world, near, 0)
    camera.extractor.view = elsewhere.view(near_image(elsewhere))
    frame = replace(camera.frame, image=marked(camera.extractor.view, 0))
    result = camera.engine.localize(frame)
    assert result.reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
    assert camera.extractor.looked == 4
    assert camera.engine.extract(frame).quarters == 0


def test_an_image_whose_features_are_given_is_not_turned(world, near):
    camera = Camera(world, near, 2)
    features = camera.extractor.extract(camera.frame.image)
    assert camera.engine.localize(camera.frame, features=features).reason in (Reason.FEW_MATCHES, Reason.FEW_INLIERS)
    assert camera.extractor.looked == 1


@pytest.mark.parametrize("quarters", range(-4, 5))
def test_features_turn_with_their_image(quarters):
    image = np.zeros((6, 9), np.uint8)
    image[1, 7] = 255
    angles = np.array([[2.0, 0.0]], np.float32)
    features = LocalFeatures(np.float32([[7.5, 1.5]]), np.ones(1, np.float32), np.ones((1, 4)), (9, 6), angles)
    turned, there = turned_features(features, quarters), turned_image(image, quarters)
    assert turned.image_size == there.shape[::-1]
    x, y = turned.keypoints[0] - 0.5
    assert there[int(y), int(x)] == 255
    right = np.float32([[8.5, 1.5]])  # the angle 0 points to the right
    step = (turned_features(replace(features, keypoints=right), quarters).keypoints - turned.keypoints)[0]
    angle = turned.scales_angles[0, 1]
    np.testing.assert_allclose(step, [np.cos(angle), np.sin(angle)], atol=1e-5)


def test_other_turns_come_in_order_over_the_images_of_a_camera(world):
    turns, one = Turns(1), CameraCalibration(world.camera, CalibrationSource.GIVEN)
    assert [list(turns.others(one)) for _ in range(4)] == [[2], [1], [3], [2]]
    turns.found(one, 3)
    rarely = [list(turns.others(one)) for _ in range(12)]
    assert rarely == [[], [], [], [0], [], [], [], [2], [], [], [], [1]]
    assert list(Turns(3).others(None)) == [2, 1, 3]
