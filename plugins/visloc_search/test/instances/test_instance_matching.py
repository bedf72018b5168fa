"""Matches within instances, then of what is left: wrong masks cost no match."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.nearest import NearestMatcher
from visloc_search.instances.matching import match_by_instance

COUNT = 60


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def images():
    """Two images of the same points in another order, and the row in the second of each point of the first."""
    rng = np.random.default_rng(1)
    descriptors = unit(rng.normal(size=(COUNT, 32)))
    order = rng.permutation(COUNT)
    keypoints = rng.uniform(0, 100, (COUNT, 2)).astype(np.float32)
    first = LocalFeatures(keypoints, np.ones(COUNT, np.float32), descriptors, (100, 100))
    second = replace(first, descriptors=unit(descriptors[order] + 0.05 * rng.normal(size=(COUNT, 32))))
    return first, second, np.argsort(order)


def num_right(matches, row_in_second):
    return int((row_in_second[matches.pairs[:, 0]] == matches.pairs[:, 1]).sum())


def labels_of(rng):
    return rng.integers(1, 5, COUNT)


def test_right_masks_all_background_and_shuffled_ones_match_all(images):
    first, second, row_in_second = images
    rng = np.random.default_rng(2)
    labels = labels_of(rng)
    of_second = labels[np.argsort(row_in_second)]
    nothing = np.zeros(COUNT, int)
    for one, other in ((labels, of_second), (nothing, nothing), (labels, nothing)):
        matches = match_by_instance(NearestMatcher(), first, one, second, other)
        assert num_right(matches, row_in_second) == COUNT
        assert len(np.unique(matches.pairs[:, 0])) == len(np.unique(matches.pairs[:, 1])) == len(matches)
    shuffled = match_by_instance(NearestMatcher(threshold=0.7), first, labels, second, rng.permutation(of_second))
    assert num_right(shuffled, row_in_second) == COUNT


def test_keypoints_of_one_instance_match_within_it(images):
    """A point that looks like one of another instance is matched in its own."""
    first, second, row_in_second = images
    twin = first.descriptors.copy()
    twin[1] = unit(twin[[0]] + 0.03)[0]  # looks like point 0, which is in another instance
    first = replace(first, descriptors=twin)
    second = replace(second, descriptors=second.descriptors.copy())
    second.descriptors[row_in_second[1]] = twin[1]
    labels = np.arange(COUNT) % 2 + 1
    matches = match_by_instance(NearestMatcher(), first, labels, second, labels[np.argsort(row_in_second)])
    found = dict(matches.pairs.tolist())
    assert found[0] == row_in_second[0]
    assert found[1] == row_in_second[1]


def test_an_image_without_keypoints_gives_no_matches(images):
    first, second, _ = images
    nothing = first.take(np.empty(0, np.intp))
    assert len(match_by_instance(NearestMatcher(), nothing, np.empty(0, int), second, np.ones(COUNT, int))) == 0
    assert len(match_by_instance(NearestMatcher(), first, np.ones(COUNT, int), nothing, np.empty(0, int))) == 0
