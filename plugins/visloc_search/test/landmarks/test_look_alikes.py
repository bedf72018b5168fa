"""Which landmarks look like others, told by their points."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_places import DIM, unit

from visloc_search.landmarks.landmark_reach import LookAlikes


def with_descriptors(landmark_map, descriptors):
    return replace(landmark_map, points=replace(landmark_map.points, descriptors=descriptors.astype(np.float16)))


def distinct(landmark_map):
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(len(landmark_map.labels), 8 * DIM)))


def apart(landmark_map):
    """Two landmarks that are never seen together."""
    looks = LookAlikes(landmark_map)
    labels = range(1, landmark_map.num_landmarks + 1)
    return next((one, other) for one in labels for other in labels if not looks.covisible(one, other))


def test_points_of_their_own_look_like_no_others(landmark_map):
    looks = LookAlikes(with_descriptors(landmark_map, distinct(landmark_map)))
    assert all(looks.of(label) == () for label in range(1, landmark_map.num_landmarks + 1))


@pytest.mark.parametrize(("share", "is_alike"), [(1.0, True), (0.4, True), (0.03, False)])
def test_a_landmark_with_points_of_another_looks_like_it(landmark_map, share, is_alike):
    one, other = apart(landmark_map)
    descriptors, rng = distinct(landmark_map), np.random.default_rng(1)
    source, target = (np.flatnonzero(landmark_map.labels == label) for label in (one, other))
    count = min(len(source), len(target))
    copied = rng.random(count) < share
    descriptors[target[:count][copied]] = descriptors[source[:count][copied]]
    assert (other in LookAlikes(with_descriptors(landmark_map, descriptors)).of(one)) is is_alike


def test_the_same_landmark_is_found_in_another_map(landmark_map):
    looks = LookAlikes(with_descriptors(landmark_map, distinct(landmark_map)))
    samples = looks.samples(2)
    assert np.allclose(np.linalg.norm(samples, axis=1), 1.0, atol=1e-5)
    assert looks.like(samples) == (2,)
    assert looks.like(samples, without=[2]) == ()
    assert looks.like(samples, without=list(range(1, landmark_map.num_landmarks + 1))) == ()
