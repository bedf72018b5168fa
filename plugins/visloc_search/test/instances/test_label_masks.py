"""Masks of map images: superpixels take the instance of the points in them, and nothing far from points has one."""

from dataclasses import replace

import cv2
import numpy as np
import pycolmap
import pytest
from synthetic_map import World

from visloc_ros.core.map import NO_POINT, LocalFeatures, MapImage
from visloc_search.instances.label_masks import instance_mask, picture_of

WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def camera():
    return World().camera


def image_of(camera, keypoints, point_rows):
    count = len(keypoints)
    features = LocalFeatures(
        np.array(keypoints, np.float32), np.ones(count, np.float32), np.ones((count, 4), np.float32), (WIDTH, HEIGHT)
    )
    camera = pycolmap.Camera(camera.todict() | {"width": WIDTH, "height": HEIGHT})
    return MapImage("one", World().map.images[0].map_from_camera, camera, features, np.array(point_rows, np.int32))


@pytest.fixture
def picture():
    """Left half red, right half blue."""
    picture = np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    picture[:, : WIDTH // 4, 0], picture[:, WIDTH // 4 :, 2] = 220, 220
    return picture


def test_a_mask_follows_the_borders_of_surfaces(camera, picture):
    """Points of the red half have instance 1, of the blue half 2; one keypoint sees no point."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform((10, 10), (WIDTH - 10, HEIGHT - 10), (300, 2))
    keypoints = keypoints[np.abs(keypoints[:, 0] - WIDTH / 2) > 12]
    labels = np.where(keypoints[:, 0] < WIDTH / 2, 1, 2).astype(np.int32)
    image = image_of(camera, [*keypoints, (5, 5)], [*range(len(keypoints)), NO_POINT])
    mask = instance_mask(image, picture, labels)
    assert mask.shape == picture.shape[:2]
    assert (mask[:, : WIDTH // 4 - 2] == 1).mean() > 0.97
    assert (mask[:, WIDTH // 4 + 2 :] == 2).mean() > 0.97


def test_nothing_far_from_points_has_an_instance(camera, picture):
    image = image_of(camera, [(40, 40), (60, 60)], [0, 1])
    mask = instance_mask(image, picture, np.array([1, 1], np.int32))
    assert (mask[:60, :60] == 1).any()
    assert not mask[120:, 160:].any()
    without = instance_mask(image, picture, np.array([0, 0], np.int32))
    assert not without.any()


def test_the_small_picture_of_a_map_image_is_read_in_colour(camera, picture):
    place = World().map
    name = place.images[0].name
    encoded = cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()
    read = picture_of(replace(place, thumbnails={name: encoded}), place.images[0])
    np.testing.assert_allclose(read[20, 20], [220, 0, 0], atol=6)
    assert picture_of(place, place.images[0]) is None
    assert picture_of(replace(place, thumbnails={name: b"no picture"}), place.images[0]) is None
