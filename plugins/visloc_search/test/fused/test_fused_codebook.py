"""The codebook: means over observations, rounded, and taken apart again; and how descriptors of images are reduced."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import DIM, unit

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_search.fused.config import REDUCERS, FusedConfig
from visloc_search.fused.fused_map import DescribedMap, fuse_map
from visloc_search.fused.fusion import Codebook, FusedQuery, Reducer, local_descriptors
from visloc_search.fused.point_index import ExactIndex, half_squares


def described(map_):
    return DescribedMap.of(map_, *global_index(map_))


def sums_of(one, config):
    parts = one.image_parts(config)
    return one.sums(parts.reduced), parts


def local_means(map_):
    """Plain means of the descriptors of keypoints, image by image."""
    sums, counts = np.zeros((len(map_.points), DIM)), np.zeros(len(map_.points))
    for image in sorted(map_.images, key=lambda image: image.name):
        seen = np.flatnonzero(image.point_rows >= 0)
        sums[image.point_rows[seen]] += image.features.descriptors[seen].astype(np.float64)
        counts[image.point_rows[seen]] += 1
    return sums / counts[:, None]


def test_without_weight_of_images_it_is_the_local_baseline_bit_for_bit(fused_world):
    fused = fuse_map(described(fused_world.map), FusedConfig(rho=0.0))
    baseline = local_means(fused_world.map).astype(np.float16)
    np.testing.assert_array_equal(fused.codebook.values, baseline)
    local = fused_world.view(fused_world.map.images[1].map_from_camera).descriptors
    points = baseline.astype(np.float32)
    scores = local @ points.T - half_squares(points)
    found = ExactIndex(fused.codebook).search(FusedQuery(local, unit(np.ones((1, DIM)))[0], 1.0))
    np.testing.assert_array_equal(found.rows, scores.argmax(axis=1))
    np.testing.assert_array_equal(found.scores, scores.max(axis=1))


def test_the_order_of_images_does_not_matter(fused_world):
    config, one = FusedConfig(), described(fused_world.map)
    other = replace(
        one,
        map=replace(one.map, images=one.map.images[::-1]),
        global_descriptors=one.global_descriptors[::-1],
        observed=one.observed[::-1],
    )
    rows = np.arange(len(fused_world.points))
    means = [sums_of(each, config)[0].means(config.local_weight, rows) for each in (one, other)]
    np.testing.assert_allclose(means[0], means[1], atol=1e-6)


def test_the_descriptor_of_a_point_seen_once_is_the_fused_one(fused_world):
    whole = described(fused_world.map)
    first = replace(whole.map, images=whole.map.images[:1])
    one = replace(whole, map=first, global_descriptors=whole.global_descriptors[:1], observed=whole.observed[:1])
    sums, parts = sums_of(one, FusedConfig())
    (alone,), (seen,) = one.map.images, one.observed
    lam, local = parts.fusion.lam, alone.features.descriptors[seen.keypoints].astype(float)
    expected = lam * local + (1.0 - lam) * parts.reduced[0].astype(float)
    np.testing.assert_allclose(sums.means(lam, seen.point_rows), expected, atol=1e-9)


@pytest.mark.parametrize(("storage", "error"), [("float16", 3e-4), ("int8", 3e-3)])
def test_what_is_stored_is_nearly_what_was_computed(storage, error):
    values = 0.6 * unit(np.random.default_rng(0).normal(size=(50, DIM)))
    stored = Codebook.store(values, storage)
    np.testing.assert_allclose(stored.rows(slice(None)), values, atol=error)
    np.testing.assert_array_equal(stored.rows(np.array([7, 3])), stored.rows(slice(None))[[7, 3]])


def test_eight_bits_take_half_the_bytes_and_keep_a_point_of_zeros():
    values = np.zeros((4, DIM))
    values[1:] = unit(np.random.default_rng(0).normal(size=(3, DIM)))
    small, large = (Codebook.store(values, storage) for storage in ("int8", "float16"))
    np.testing.assert_array_equal(small.rows(slice(0, 1)), np.zeros((1, DIM)))
    assert small.values.nbytes + small.scales.nbytes == 4 * (DIM + 4)
    assert large.values.nbytes == 4 * 2 * DIM


@pytest.mark.parametrize("options", [{}, {"rho": 1.5}])
def test_the_part_of_the_images_can_be_taken_out(fused_world, options):
    fused = fuse_map(described(fused_world.map), FusedConfig.from_mapping(options))
    local = local_descriptors(fused.codebook, fused.fusion, fused.reduced, fused.first_row, fused.point_rows)
    np.testing.assert_allclose(local, unit(local_means(fused_world.map)), atol=5e-3)


class TestWeights:
    def test_rho_is_how_much_more_the_image_weighs(self):
        assert FusedConfig(rho=0.5).local_weight == pytest.approx(2.0 / 3.0)
        assert FusedConfig(rho=0.0).local_weight == 1.0

    @pytest.mark.parametrize("rho", [2.1, 9.0, -0.1])
    def test_a_rho_that_collapses_is_refused(self, rho):
        with pytest.raises(ConfigError, match=r"collapses\. Choose 0\.35 to 0\.6"):
            FusedConfig(rho=rho)


LONG, SHORT = 256, 32


def image_descriptors(count=64, length=LONG):
    return unit(np.random.default_rng(1).normal(size=(count, length)))


@pytest.mark.parametrize("kind", REDUCERS)
def test_a_reducer_is_the_same_after_a_reload(kind):
    made = Reducer.fit(kind, 3, image_descriptors(), SHORT)
    again = Reducer.load(made.kind, made.seed, (LONG, SHORT), made.arrays)
    np.testing.assert_array_equal(made.apply(image_descriptors()), again.apply(image_descriptors()))
    assert again.has_fingerprint(made.fingerprint)
    assert set(made.arrays) == set(Reducer.stored_arrays(kind, (LONG, SHORT)))


@pytest.mark.parametrize("kind", ["orthogonal", "subset"])
def test_another_seed_gives_another_reducer(kind):
    one, other = (Reducer.fit(kind, seed, image_descriptors(), SHORT) for seed in (0, 1))
    assert not one.has_fingerprint(other.fingerprint)


@pytest.mark.parametrize(("kind", "expected"), [("orthogonal", 1.0), ("subset", SHORT / LONG)])
def test_the_expected_squared_length(kind, expected):
    reduced = Reducer.fit(kind, 0, image_descriptors(), SHORT).apply(image_descriptors(2000))
    assert np.square(reduced).sum(axis=1).mean() == pytest.approx(expected, rel=0.05)


def test_rows_of_the_orthogonal_reducer_are_orthogonal():
    matrix = Reducer.fit("orthogonal", 0, image_descriptors(), SHORT).matrix.astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, LONG / SHORT * np.eye(SHORT), atol=1e-4)


def test_principal_components_take_up_what_varies():
    rng = np.random.default_rng(0)
    spanned = rng.normal(size=(200, SHORT)) @ rng.normal(size=(SHORT, LONG)) + rng.normal(size=LONG)
    reduced = Reducer.fit("pca", 0, spanned.astype(np.float32), SHORT).apply(spanned.astype(np.float32))
    between = np.linalg.norm(spanned[0] - spanned[1:], axis=1)
    np.testing.assert_allclose(np.linalg.norm(reduced[0] - reduced[1:], axis=1), between, rtol=1e-3)


def test_with_too_few_images_principal_components_are_replaced(caplog):
    with caplog.at_level(logging.WARNING):
        made = Reducer.fit("pca", 0, image_descriptors(SHORT - 1), SHORT)
    assert made.kind == "orthogonal"
    assert "31 images cannot give 32 principal components" in caplog.text


@pytest.mark.parametrize("kind", REDUCERS)
def test_a_short_descriptor_is_padded(kind):
    short = image_descriptors(length=20)
    made = Reducer.fit(kind, 0, short, SHORT)
    np.testing.assert_array_equal(made.apply(short), np.pad(short, ((0, 0), (0, 12))))
    assert made.num_bytes == 0


def test_a_descriptor_of_another_length_is_refused():
    with pytest.raises(MapError, match="20 numbers"):
        Reducer.fit("subset", 0, image_descriptors(), SHORT).apply(np.zeros(20, np.float32))


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
