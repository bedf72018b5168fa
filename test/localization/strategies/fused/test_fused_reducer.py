"""Descriptors of images brought to the length of those of keypoints, the same again after a reload."""

import logging

import numpy as np
import pytest
from synthetic_map import unit

from visloc_ros.core.errors import MapError
from visloc_ros.localization.strategies.fused.config import REDUCERS
from visloc_ros.localization.strategies.fused.fusion import Reducer

LONG, SHORT = 256, 32


def descriptors(count=64, length=LONG):
    return unit(np.random.default_rng(1).normal(size=(count, length)))


@pytest.mark.parametrize("kind", REDUCERS)
def test_a_reducer_is_the_same_after_a_reload(kind):
    made = Reducer.fit(kind, 3, descriptors(), SHORT)
    again = Reducer.load(made.kind, made.seed, (LONG, SHORT), made.arrays)
    np.testing.assert_array_equal(made.apply(descriptors()), again.apply(descriptors()))
    assert again.has_fingerprint(made.fingerprint)
    assert set(made.arrays) == set(Reducer.stored_arrays(kind, (LONG, SHORT)))


@pytest.mark.parametrize("kind", ["orthogonal", "subset"])
def test_another_seed_gives_another_reducer(kind):
    one, other = (Reducer.fit(kind, seed, descriptors(), SHORT) for seed in (0, 1))
    assert not one.has_fingerprint(other.fingerprint)


@pytest.mark.parametrize(("kind", "expected"), [("orthogonal", 1.0), ("subset", SHORT / LONG)])
def test_the_expected_squared_length(kind, expected):
    reduced = Reducer.fit(kind, 0, descriptors(), SHORT).apply(descriptors(2000))
    assert np.square(reduced).sum(axis=1).mean() == pytest.approx(expected, rel=0.05)


def test_rows_of_the_orthogonal_reducer_are_orthogonal():
    matrix = Reducer.fit("orthogonal", 0, descriptors(), SHORT).matrix.astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, LONG / SHORT * np.eye(SHORT), atol=1e-4)


def test_principal_components_take_up_what_varies():
    rng = np.random.default_rng(0)
    spanned = rng.normal(size=(200, SHORT)) @ rng.normal(size=(SHORT, LONG)) + rng.normal(size=LONG)
    reduced = Reducer.fit("pca", 0, spanned.astype(np.float32), SHORT).apply(spanned.astype(np.float32))
    between = np.linalg.norm(spanned[0] - spanned[1:], axis=1)
    np.testing.assert_allclose(np.linalg.norm(reduced[0] - reduced[1:], axis=1), between, rtol=1e-3)


def test_with_too_few_images_principal_components_are_replaced(caplog):
    with caplog.at_level(logging.WARNING):
        made = Reducer.fit("pca", 0, descriptors(SHORT - 1), SHORT)
    assert made.kind == "orthogonal"
    assert "31 images cannot give 32 principal components" in caplog.text


@pytest.mark.parametrize("kind", REDUCERS)
def test_a_short_descriptor_is_padded(kind):
    short = descriptors(length=20)
    made = Reducer.fit(kind, 0, short, SHORT)
    np.testing.assert_array_equal(made.apply(short), np.pad(short, ((0, 0), (0, 12))))
    assert made.num_bytes == 0


def test_a_descriptor_of_another_length_is_refused():
    with pytest.raises(MapError, match="20 numbers"):
        Reducer.fit("subset", 0, descriptors(), SHORT).apply(np.zeros(20, np.float32))


@pytest.mark.parametrize(
    ("kind", "arrays", "complaint"),
    [
        ("subset", {}, "other arrays"),
        ("orthogonal", {"coordinates": np.arange(3)}, "other arrays"),
        ("subset", {"coordinates": np.array([0, LONG], np.int32)}, "more than 256"),
        ("subset", {"coordinates": np.array([-1, 0], np.int32)}, "more than 256"),
    ],
)
def test_arrays_that_are_no_reducer_are_refused(kind, arrays, complaint):
    with pytest.raises(MapError, match=complaint):
        Reducer.load(kind, 0, (LONG, SHORT), arrays)
