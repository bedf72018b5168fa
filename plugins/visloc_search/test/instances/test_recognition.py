"""The result of a recogniser: its mask, areas and confidence, and the order of instances, by hand."""

import numpy as np
import pytest

from visloc_search.instances.recognition import (
    RANKS,
    Recognition,
    at_pixels,
    instance_scores,
    rank_instances,
)

# Four cells in a row; classes 0 (none) to 3.
PROBABILITIES = np.array(
    [
        [[0.10, 0.05, 0.60, 0.20]],
        [[0.70, 0.15, 0.25, 0.00]],
        [[0.20, 0.50, 0.15, 0.80]],
        [[0.00, 0.30, 0.00, 0.00]],
    ],
    np.float32,
)


@pytest.fixture
def recognition():
    return Recognition.of(PROBABILITIES, np.array([1.0, 0.0], np.float32))


def test_it_keeps_the_classes_of_each_cell_by_probability(recognition):
    np.testing.assert_array_equal(recognition.ids[:, 0, 1], [2, 3, 1, 0])
    np.testing.assert_array_equal(recognition.mask, [[1, 2, 0, 2]])
    np.testing.assert_allclose(recognition.confidence, [[0.7, 0.5, 0.6, 0.8]])
    np.testing.assert_allclose(recognition.areas(5), [0.2375, 0.275, 0.4125, 0.075, 0.0])
    many = Recognition.of(np.full((RANKS + 5, 2, 3), 1.0 / (RANKS + 5), np.float32), np.ones(1, np.float32))
    assert many.ids.shape == (RANKS, 2, 3)


def test_an_instance_scores_by_its_best_rank_then_by_its_probability_there(recognition):
    # Four ranks: 4 + mean over the cells where it is first; class 3 is second in one cell, and first in none.
    assert instance_scores(recognition) == {
        0: pytest.approx(4 + 0.6),
        1: pytest.approx(4 + 0.7),
        2: pytest.approx(4 + (0.5 + 0.8) / 2),
        3: pytest.approx(3 + 0.3),
    }
    assert list(rank_instances(recognition)) == [1, 2, 3]


def test_an_improbable_instance_is_not_looked_for():
    probabilities = np.array([[[0.5]], [[0.49995]], [[0.00005]]], np.float32)
    assert list(rank_instances(Recognition.of(probabilities, np.ones(1, np.float32)))) == [1]


def test_pixels_of_an_image_that_is_not_square_have_the_instance_of_their_cell():
    mask = np.array([[1, 2, 3], [4, 5, 6]], np.uint16)
    pixels = np.array([[0.0, 0.0], [299.9, 0.0], [150.0, 199.9], [99.0, 101.0], [300.0, 200.0]])
    np.testing.assert_array_equal(at_pixels(mask, pixels, (300, 200)), [1, 3, 5, 4, 6])
