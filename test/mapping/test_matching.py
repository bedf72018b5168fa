"""All pairs are matched, each the right way round, whatever the order and the threads."""

import threading

import numpy as np
import pytest

from visloc_ros.core.map import LocalFeatures
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.mapping.matching import match_pairs, renumber, support_loop, without_weak_loops
from visloc_ros.mapping.parallel import PerThread, count_workers, map_in_order

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


def rows_between(features, i, j):
    """All right matches of two images."""
    return NearestMatcher(0.5).match(features[i], features[j]).pairs


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


def test_a_loop_needs_more_matches_than_neighbours(features):
    few, many = np.zeros((10, 2), np.int32), rows_between(features, 0, 1)[:35]
    every = [features[row % 2] for row in range(31)]
    matches = {(0, 1): few, (1, 30): many[:, ::-1], (0, 30): few, (2, 21): few, (2, 22): few, (3, 24): many[:, ::-1]}
    assert set(without_weak_loops(matches, every, 20, 30)) == {(0, 1), (1, 30), (2, 21), (3, 24)}


def test_a_loop_needs_matches_that_descriptors_confirm(features):
    """A network also matches by where keypoints lie: two rooms of one shape are no loop."""
    right = rows_between(features, 0, 1)
    for confirmed, expected in ((15, True), (14, False)):
        rows = right.copy()
        rows[confirmed:, 1] = np.roll(rows[confirmed:, 1], 1)
        assert support_loop(features[0], features[1], rows, 30) is expected
        assert support_loop(features[0], features[1], rows, 0)


def test_renumbered_matches_keep_their_rows():
    rows = np.array([[1, 2]], dtype=np.int32)
    assert renumber({(3, 7): rows, (3, 8): rows}, [9, 3, 7]) == {(1, 2): rows}


def test_few_matches_between_sources_count_as_a_weak_loop_however_close_their_rows_are(features):
    few, many = np.zeros((10, 2), np.int32), rows_between(features, 1, 3)
    matches = {(0, 1): few, (1, 2): few, (1, 3): many, (2, 3): few}
    assert set(without_weak_loops(matches, features, 20, 30, ["a", "a", "b", "b"])) == {(0, 1), (1, 3), (2, 3)}


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers):
    first_may_end = threading.Event()

    def double(item):
        if item == 0 and workers > 1:
            assert first_may_end.wait(10)
        if item == 1:
            first_may_end.set()
        return 2 * item

    assert list(map_in_order(double, range(20), workers)) == [2 * item for item in range(20)]


def test_items_are_not_drawn_long_before_they_are_needed():
    drawn = []

    def items():
        for item in range(100):
            drawn.append(item)
            yield item

    results = map_in_order(lambda item: item, items(), 2)
    next(results)
    assert len(drawn) <= 5
    results.close()


def test_a_failure_reaches_the_caller_and_ends_the_work():
    done = []

    def fail_at_three(item):
        if item == 3:
            raise ValueError("three")
        done.append(item)

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_at_three, range(1000), 2))
    assert len(done) < 20


def test_every_thread_has_a_model_of_its_own():
    made = []
    models = PerThread(lambda: made.append(object()) or made[-1])
    together = threading.Barrier(3)

    def take(_):
        together.wait(10)
        return models(), models()

    taken = list(map_in_order(take, range(3), 3))
    assert all(first is again for first, again in taken)
    assert {id(first) for first, _ in taken} == {id(model) for model in made}
    assert len(made) == 3
    assert models.first is made[0]


def test_the_number_of_workers_is_bounded():
    assert count_workers(7) == 7
    assert 1 <= count_workers(0) <= 4
