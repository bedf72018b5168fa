"""The network sees only pairs whose nearest neighbours are few or alike."""

import numpy as np
import pytest

from visloc_ros.core.map import LocalFeatures
from visloc_ros.features.nearest_first import NearestFirst
from visloc_ros.features.types import Matches, ModelInfo


class Network:
    """Finds one match, and counts what it is asked for."""

    info = ModelInfo("network", "MIT")

    def __init__(self, batch_size=1):
        self.batch_size, self.asked = batch_size, []

    def match_many(self, query, references):
        self.asked += references
        return [Matches(np.array([[7, 7]], np.int32), np.ones(1, np.float32)) for _ in references]


def features_of(descriptors):
    count = len(descriptors)
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    return LocalFeatures(
        np.zeros((count, 2), np.float32), np.ones(count, np.float32), unit.astype(np.float32), (64, 48)
    )


@pytest.fixture(scope="module")
def images():
    """An image, the same a little changed, the same with few of its keypoints, and another."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 150, 64))
    return [features_of(values) for values in (one, one + 0.1 * rng.normal(size=one.shape), one[:40], other)]


def test_each_pair_has_the_matches_of_the_matcher_that_it_needs(images):
    network = Network()
    alike, few, unlike = NearestFirst(network).match_many(images[0], images[1:])
    assert np.array_equal(alike.pairs, np.column_stack([np.arange(150)] * 2))
    assert [len(few), len(unlike)] == [1, 1]
    assert network.asked == images[2:]


def test_a_network_that_takes_several_pairs_at_once_takes_all(images):
    network = Network(batch_size=8)
    found = NearestFirst(network).match_many(images[0], images[1:])
    assert network.asked == images[1:]
    assert [len(one) for one in found] == [1, 1, 1]


def test_it_passes_as_the_network(images):
    matcher = NearestFirst(Network())
    assert (matcher.info.name, matcher.batch_size) == ("network", 1)
    assert len(matcher.match(images[0], images[1])) == 150
