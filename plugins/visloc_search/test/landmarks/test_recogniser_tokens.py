"""Tokens: where keypoints lie, what their labels are, and which images are held out."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import World
from token_world import TokenWorld

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import NO_POINT, LocalFeatures
from visloc_search.landmarks.tokens import (
    BACKGROUND,
    background_image,
    label_images,
    normalise_positions,
    split_images,
)


@pytest.mark.parametrize(("size", "corner"), [((640, 480), (0.5, 0.375)), ((480, 640), (0.375, 0.5))])
def test_positions_are_measured_from_the_centre_by_the_longer_side(size, corner):
    width, height = size
    keypoints = np.array([[width / 2, height / 2], [width, height], [0, height]], np.float32)
    x, y = np.array(corner) / 0.7
    np.testing.assert_allclose(normalise_positions(keypoints, size), [[0, 0], [x, y], [-x, y]], atol=1e-6)


def test_a_turned_camera_sees_the_same_distances():
    keypoints = np.random.default_rng(0).uniform(0, 360, (9, 2))
    wide, tall = normalise_positions(keypoints, (640, 360)), normalise_positions(keypoints[:, ::-1], (360, 640))
    np.testing.assert_allclose(wide, tall[:, ::-1], atol=1e-6)


def test_keypoints_get_the_label_of_their_point():
    world = World(points=120, images=3)
    labels = np.arange(len(world.points)) % 4
    for image, labelled in zip(world.map.images, label_images(world.map, labels), strict=True):
        has_point = image.point_rows != NO_POINT
        assert 0 < has_point.sum() < len(labelled)
        assert (labelled.labels[has_point] == labels[image.point_rows[has_point]]).all()
        assert (labelled.labels[~has_point] == BACKGROUND).all()
        assert (labelled.point_rows == image.point_rows).all()
        assert labelled.descriptors.dtype == labelled.positions.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(labelled.descriptors, axis=1), 1.0, atol=1e-5)


def test_labels_of_another_map_are_refused():
    world = World(points=60, images=2)
    with pytest.raises(MapError, match="3 labels do not fit the 60 points"):
        label_images(world.map, np.ones(3, np.int64))


def test_descriptors_kept_rounded_become_unit_vectors():
    features = LocalFeatures(
        np.zeros((2, 2), np.float32), np.ones(2, np.float32), np.array([[3, 4], [0, 0]], np.float16), (64, 48)
    )
    np.testing.assert_allclose(background_image(features).descriptors, [[0.6, 0.8], [0, 0]], atol=1e-6)


def test_an_image_without_keypoints_has_no_tokens():
    world = World(points=60, images=2)
    image = world.map.images[0]
    none = replace(image, features=image.features.take(np.empty(0, np.intp)), point_rows=image.point_rows[:0])
    (labelled, _) = label_images(replace(world.map, images=(none, world.map.images[1])), np.ones(60, np.int64))
    assert len(labelled) == 0
    assert labelled.positions.shape == (0, 2)


def test_held_out_images_are_not_trained_with():
    images = TokenWorld(points=60).views(10)
    train, held_out = split_images(images, 4)
    assert [id(one) for one in held_out] == [id(images[2]), id(images[6])]
    assert len(train) == 8
    assert not {id(one) for one in train} & {id(one) for one in held_out}
