"""The descriptor of a point, of those of its observations."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_places import unit

from visloc_ros.core.map import NO_POINT, LocalFeatures, MapImage
from visloc_ros.localization.strategies.landmarks import landmark_map
from visloc_ros.localization.strategies.landmarks.landmark_map import mean_descriptors, medoid_descriptors


def observed(map_, point):
    rows = [
        image.features.descriptors[np.flatnonzero(image.point_rows == point)[0]]
        for image in map_.images
        if point in image.point_rows
    ]
    return unit(np.array(rows, np.float32))


def medoid(descriptors):
    distances = 2.0 - 2.0 * descriptors @ descriptors.T
    return descriptors[np.argmin(np.median(distances, axis=1))]


@pytest.mark.parametrize("chunk", [1, 1 << 23])
def test_the_medoid_is_the_observation_nearest_to_the_others(hall_map, monkeypatch, chunk):
    monkeypatch.setattr(landmark_map, "_CHUNK_VALUES", chunk)
    rows = np.array([7, 3, 800, 1400, 12])
    expected = [medoid(observed(hall_map, row)) for row in rows]
    assert np.allclose(medoid_descriptors(hall_map, rows), expected, atol=1e-3)


def test_the_mean_is_between_the_observations(hall_map):
    rows = np.array([7, 3, 800])
    expected = [unit(observed(hall_map, row).mean(axis=0)) for row in rows]
    assert np.allclose(mean_descriptors(hall_map, rows), expected, atol=1e-3)


@pytest.mark.parametrize("describe", [medoid_descriptors, mean_descriptors])
def test_descriptors_have_unit_length_and_half_precision(hall_map, describe):
    descriptors = describe(hall_map, np.arange(len(hall_map.points))[::3])
    assert descriptors.dtype == np.float16
    assert np.allclose(np.linalg.norm(descriptors.astype(float), axis=1), 1.0, atol=2e-3)


def test_one_wrong_observation_does_not_matter(hall_map):
    """The medoid is one of the others, the mean is drawn towards it."""
    vectors = unit(np.array([[1.0, 0.0, 0.05], [1.0, 0.05, 0.0], [1.0, 0.0, 0.0], [-0.9, 1.0, 0.0]]))
    map_ = seen_by(hall_map, vectors)
    of_medoid, of_mean = (
        float((describe(map_, np.array([1])) @ vectors[2])[0]) for describe in (medoid_descriptors, mean_descriptors)
    )
    assert of_medoid > 0.998
    assert of_mean < 0.98


def test_one_observation_is_taken_as_it_is(hall_map):
    vector = unit(np.array([[0.6, 0.0, 0.8]]))
    assert np.allclose(medoid_descriptors(seen_by(hall_map, vector), np.array([1])), vector, atol=1e-3)


def seen_by(map_, vectors):
    """A map whose point 1 has these observations; what no point belongs to is in the images, too."""
    images = []
    for row, vector in enumerate(vectors):
        features = LocalFeatures(
            np.zeros((2, 2), np.float32),
            np.ones(2, np.float32),
            np.stack([np.ones_like(vector), vector]).astype(np.float16),
            (640, 480),
        )
        image = map_.images[0]
        point_rows = np.array([NO_POINT, 1], np.int32)
        images.append(MapImage(f"{row}.jpg", image.map_from_camera, image.camera, features, point_rows))
    return replace(map_, images=tuple(images))
