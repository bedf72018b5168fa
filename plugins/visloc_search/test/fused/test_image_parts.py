"""What images add to descriptors: averaged over those that show the same points, and the same for queries."""

import numpy as np
import pytest
from synthetic_map import unit

from visloc_search.fused.fused_map import smooth
from visloc_search.fused.fusion import Fusion, Reducer
from visloc_search.fused.image_parts import SKETCH_LENGTH, ImageParts, sketch

LENGTH, GLOBAL = 32, 1024
ROWS = [np.array([0, 1, 2]), np.array([2, 3]), np.array([4, 5])]  # the first two show a common point
DESCRIPTORS = unit(np.random.default_rng(0).normal(size=(3, GLOBAL)))
FUSION = Fusion(0.5, Reducer.fit("subset", 0, DESCRIPTORS, LENGTH))
OWN = FUSION.reduce(DESCRIPTORS)


def smoothed(steps, order=(0, 1, 2)):
    return smooth(OWN[list(order)], [ROWS[row] for row in order], 6, steps)


def parts(sketches):
    return ImageParts(FUSION, OWN, sketches)


def test_images_count_as_much_as_they_share_points():
    expected = (3.0 * OWN[0] + 1.0 * OWN[1]) / 4.0
    np.testing.assert_allclose(smoothed(1)[0], unit(expected[None])[0], atol=1e-6)


def test_without_steps_each_keeps_its_own():
    np.testing.assert_array_equal(smoothed(0), OWN)


def test_images_of_one_place_become_alike_and_those_of_others_stay():
    before, after = OWN @ OWN.T, smoothed(4) @ smoothed(4).T
    assert after[0, 1] > 0.9 > 0.5 > before[0, 1]
    np.testing.assert_allclose(smoothed(4)[2], OWN[2], atol=1e-6)


def test_the_order_of_images_does_not_matter():
    np.testing.assert_allclose(smoothed(4, order=(2, 0, 1)), smoothed(4)[[2, 0, 1]], atol=1e-6)


def test_a_query_gets_the_part_of_the_most_similar_images():
    noise = unit(np.random.default_rng(1).normal(size=GLOBAL)[None])[0]
    part = parts(sketch(DESCRIPTORS)).of_query(unit((DESCRIPTORS[2] + 0.5 * noise)[None])[0])
    assert part @ OWN[2] > 0.9
    assert np.linalg.norm(part) == pytest.approx(1.0, abs=1e-6)


def test_without_sketches_it_keeps_its_own():
    np.testing.assert_array_equal(parts(np.empty((0, 0), np.float32)).of_query(DESCRIPTORS[1]), OWN[1])


@pytest.mark.parametrize("length", [7, SKETCH_LENGTH, 4096])
def test_a_sketch_is_a_unit_vector_of_some_numbers_or_all(length):
    descriptors = unit(np.random.default_rng(0).normal(size=(4, length)))
    assert sketch(descriptors).shape == (4, min(length, SKETCH_LENGTH))
    np.testing.assert_allclose(np.linalg.norm(sketch(descriptors), axis=1), 1.0, rtol=1e-6)
    if length <= SKETCH_LENGTH:
        np.testing.assert_allclose(sketch(descriptors), descriptors, atol=1e-6)
