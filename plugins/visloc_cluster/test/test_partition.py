"""Cutting view graphs whose best cut is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from visloc_cluster.mapping.partition import partition

BRIDGE = ((9, 10), (8, 11))


def two_groups() -> tuple[np.ndarray, np.ndarray]:
    """Images 0 to 9 and 10 to 19, each group matched within itself, and two weak pairs between them."""
    pairs = [*combinations(range(10), 2), *combinations(range(10, 20), 2), *BRIDGE]
    weights = [100] * 90 + [20, 30]
    return np.array(pairs), np.array(weights)


def test_the_weakest_connection_is_cut_and_its_images_are_shared() -> None:
    blocks = partition(20, *two_groups(), size=12, shared=4, grouped=12)
    assert [block.own.tolist() for block in blocks] == [list(range(10)), list(range(10, 20))]
    assert [block.images.tolist() for block in blocks] == [[*range(10), 10, 11], [8, 9, *range(10, 20)]]


def test_no_more_images_are_shared_than_asked_for_those_of_the_heaviest_pairs() -> None:
    blocks = partition(20, *two_groups(), size=12, shared=1, grouped=12)
    assert [block.images.tolist() for block in blocks] == [[*range(10), 11], [8, *range(10, 20)]]


def test_images_that_nothing_connects_are_never_in_one_block() -> None:
    pairs = np.array([(0, 1), (1, 2), (4, 5)])
    blocks = partition(7, pairs, np.full(3, 50), size=100, shared=5, grouped=100)
    assert [block.images.tolist() for block in blocks] == [[0, 1, 2], [4, 5]]


@pytest.mark.parametrize("count", [300, 3000])
def test_a_long_corridor_falls_into_stretches(count: int) -> None:
    pairs = np.array([(i, i + step) for step in (1, 2, 3) for i in range(count - step)])
    weights = 200 - 50 * (pairs[:, 1] - pairs[:, 0])
    blocks = partition(count, pairs, weights, size=100, shared=6, grouped=250)
    own = [block.own for block in blocks]
    assert np.array_equal(np.sort(np.concatenate(own)), np.arange(count))
    assert max(map(len, own)) <= 100
    groups = [[block.own for block in blocks if block.group == group] for group in {block.group for block in blocks}]
    assert max(sum(map(len, group)) for group in groups) <= 250
    assert len(groups) < len(blocks) or count < 250
    assert all(max(map(max, group)) - min(map(min, group)) < 275 for group in groups)  # neighbours
    assert sum(int(rows[-1] - rows[0]) + 1 - len(rows) for rows in own) <= 0.1 * count
    again = partition(count, pairs, weights, size=100, shared=6, grouped=250)
    assert all(np.array_equal(one.images, other.images) for one, other in zip(blocks, again, strict=True))
