"""What is kept of images that the matcher has seen."""

import gc

import numpy as np
import pytest
import torch

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.features.backends.lightglue import PreparedCache
from visloc_ros.features.backends.lightglue_network import Prepared

KILOBYTE = 1024


def make_features(count=3):
    descriptors = np.random.default_rng(count).normal(size=(count, 128)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = np.random.default_rng(count + 1).uniform(0, 100, (count, 2)).astype(np.float32)
    return LocalFeatures(keypoints, np.ones(count, np.float32), descriptors, (100, 100))


class Preparer:
    """Prepares a kilobyte for every image and remembers the keypoint counts it was asked for."""

    def __init__(self):
        self.counts = []

    def __call__(self, features):
        self.counts.append(len(features))
        return Prepared(torch.full((128,), float(len(features))), torch.zeros(128))


@pytest.fixture
def prepare():
    return Preparer()


def test_an_image_is_prepared_once_and_equal_features_of_another_apart(prepare):
    cache, one, other = PreparedCache(10 * KILOBYTE), make_features(), make_features()
    assert cache.get(one, prepare) is cache.get(one, prepare)
    cache.get(other, prepare)
    assert prepare.counts == [3, 3]


def test_the_least_recently_used_image_goes_when_memory_is_full(prepare):
    cache, images = PreparedCache(3 * KILOBYTE), [make_features(count) for count in (1, 2, 3, 4)]
    for image in (*images[:3], images[0], images[3]):
        cache.get(image, prepare)
    assert len(cache) == 3
    for image in (images[0], images[2], images[3], images[1]):
        cache.get(image, prepare)
    assert prepare.counts == [1, 2, 3, 4, 2]


def test_the_pair_at_hand_is_kept_even_without_memory(prepare):
    cache, query = PreparedCache(0), make_features(9)
    references = [make_features(count) for count in (1, 2, 3)]
    for reference in references:
        cache.get(query, prepare)
        cache.get(reference, prepare)
    assert prepare.counts == [9, 1, 2, 3]
    assert len(cache) == 2


def test_many_images_are_prepared_at_once_those_that_are_not_known(prepare):
    cache, images = PreparedCache(0), [make_features(count) for count in (1, 2, 3)]
    calls = []

    def prepare_many(missing):
        calls.append([len(features) for features in missing])
        return [prepare(features) for features in missing]

    cache.get(images[1], prepare)
    found = cache.get_many([*images, images[0]], prepare_many)
    assert calls == [[1, 3]]
    assert [prepared.state[0].item() for prepared in found] == [1, 2, 3, 1]


def test_an_object_in_the_place_of_a_deleted_one_is_not_taken_for_it(prepare):
    cache = PreparedCache(100 * KILOBYTE)
    values = [cache.get(make_features(count), prepare).state[0].item() for count in range(1, 9)]
    assert values == list(range(1, 9))


def test_deleted_images_leave_the_memory(prepare):
    cache = PreparedCache(100 * KILOBYTE)
    for count in range(1, 9):
        cache.get(make_features(count), prepare)
    gc.collect()
    kept = make_features(20)
    cache.get(kept, prepare)
    assert len(cache) == 1


def test_the_matcher_gives_the_same_matches_from_the_cache():
    matcher = make_matcher(MatcherConfig(precision="float32", filter_threshold=0.0))
    a, b = make_features(40), make_features(41)
    fresh = matcher.match(a, b)
    again = matcher.match(a, b)
    assert len(fresh) > 0
    np.testing.assert_array_equal(fresh.pairs, again.pairs)
    np.testing.assert_array_equal(fresh.scores, again.scores)
