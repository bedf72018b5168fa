"""Instances of points: compact, on one surface, and the same whatever order points and images are in."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import World

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import NO_POINT
from visloc_search.instances.config import NO_INSTANCE, InstanceConfig
from visloc_search.instances.point_instances import label_points


@pytest.fixture(scope="module")
def place():
    return World(points=900).map


def test_every_point_that_two_images_see_has_one_of_the_instances(place):
    labels = label_points(place, InstanceConfig(num_instances=12))
    assert labels.shape == (len(place.points),)
    assert set(np.unique(labels)) == set(range(1, 13))
    assert np.bincount(labels)[1:].max() <= 10 * np.bincount(labels)[1:].min()
    np.testing.assert_array_equal(labels, label_points(place, InstanceConfig(num_instances=12)))


def test_the_order_of_points_and_images_does_not_matter(place):
    order = np.random.default_rng(0).permutation(len(place.points))
    row_after = np.argsort(order).astype(np.int32)
    images = tuple(
        replace(image, point_rows=np.where(image.point_rows == NO_POINT, NO_POINT, row_after[image.point_rows]))
        for image in reversed(place.images)
    )
    shuffled = replace(place, points=place.points[order], images=images)
    config = InstanceConfig(num_instances=12)
    np.testing.assert_array_equal(label_points(shuffled, config), label_points(place, config)[order])


def test_two_walls_that_meet_are_not_one_instance(place):
    """Points of two walls of a corner, seen from between them: instances lie on one of them."""
    rng = np.random.default_rng(1)
    count = len(place.points)
    along = rng.uniform(0.0, 1.0, count)
    on_first = np.arange(count) % 2 == 0
    walls = np.where(on_first[:, None], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]) * along[:, None]
    points = walls + np.column_stack((np.zeros(count), np.zeros(count), rng.uniform(0.0, 0.6, count)))
    corner = replace(place, points=points)
    labels = label_points(corner, InstanceConfig(num_instances=6))
    mixed = [min(on_first[labels == one].mean(), 1.0 - on_first[labels == one].mean()) for one in range(1, 7)]
    assert np.median(mixed) == 0.0
    assert max(mixed) < 0.2


def test_points_that_a_single_image_sees_have_no_instance(place):
    alone = replace(place, images=place.images[:1])
    with pytest.raises(MapError, match="build it from images that overlap"):
        label_points(alone, InstanceConfig())
    rows = place.images[0].point_rows.copy()
    lonely = int(np.setdiff1d(rows[rows != NO_POINT], [NO_POINT])[0])
    images = [
        replace(image, point_rows=np.where(image.point_rows == lonely, NO_POINT, image.point_rows))
        for image in place.images[1:]
    ]
    labels = label_points(replace(place, images=(place.images[0], *images)), InstanceConfig(num_instances=12))
    assert labels[lonely] == NO_INSTANCE
