"""All pairs are matched, each the right way round, whatever the order and the threads."""

import numpy as np
import pytest

from visloc_ros.core.map import LocalFeatures
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.mapping.matching import match_pairs, renumber, without_weak_loops

NUM_IMAGES = 6
NUM_KEYPOINTS = 40
PAIRS = [(0, 1), (0, 3), (1, 2), (2, 5), (3, 4), (0, 5)]


class Steps:
    def __init__(self):
        self.stages, self.steps = [], 0

    def stage(self, name, total):
        self.stages.append((name, total))

    def advance(self, steps=1):
        self.steps += steps


@pytest.fixture(scope="module")
def orders():
    rng = np.random.default_rng(0)
    return [rng.permutation(NUM_KEYPOINTS) for _ in range(NUM_IMAGES)]


@pytest.fixture(scope="module")
def features(orders):
    descriptors = np.random.default_rng(1).normal(size=(NUM_KEYPOINTS, 32)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints, scores = np.zeros((NUM_KEYPOINTS, 2), np.float32), np.ones(NUM_KEYPOINTS, np.float32)
    return [LocalFeatures(keypoints, scores, descriptors[order], (640, 480)) for order in orders]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_pair_gets_its_matches(features, orders, workers):
    steps = Steps()
    matches = match_pairs(lambda: NearestMatcher(0.5), features, PAIRS, steps, workers)
    assert set(matches) == set(PAIRS)
    for (i, j), rows in matches.items():
        assert len(rows) == NUM_KEYPOINTS
        assert np.array_equal(orders[i][rows[:, 0]], orders[j][rows[:, 1]])
    assert steps.stages == [("match", len(PAIRS))]
    assert steps.steps == len(PAIRS)


def test_an_exception_of_the_listener_ends_it(features):
    class Stop(Steps):
        def advance(self, steps=1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        match_pairs(lambda: NearestMatcher(0.5), features, PAIRS, Stop())


def test_a_loop_needs_more_matches_than_neighbours():
    few, many = np.zeros((10, 2), np.int32), np.zeros((40, 2), np.int32)
    matches = {(0, 1): few, (0, 30): few, (1, 30): many, (2, 21): few, (2, 22): few}
    assert set(without_weak_loops(matches, 20, 30)) == {(0, 1), (1, 30), (2, 21)}


def test_renumbered_matches_keep_their_rows():
    rows = np.array([[1, 2]], dtype=np.int32)
    assert renumber({(3, 7): rows, (3, 8): rows}, [9, 3, 7]) == {(1, 2): rows}


def test_few_matches_between_sources_count_as_a_weak_loop_however_close_their_rows_are():
    few, many = np.zeros((10, 2), np.int32), np.zeros((40, 2), np.int32)
    matches = {(0, 1): few, (1, 2): few, (1, 3): many, (2, 3): few}
    assert set(without_weak_loops(matches, 20, 30, ["a", "a", "b", "b"])) == {(0, 1), (1, 3), (2, 3)}
