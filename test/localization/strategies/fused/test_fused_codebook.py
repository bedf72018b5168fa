"""The codebook: means over observations, weighted, rounded, and taken apart again."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import DIM, unit

from visloc_ros.core.errors import ConfigError
from visloc_ros.localization.strategies.fused.codebook import Codebook, local_descriptors
from visloc_ros.localization.strategies.fused.config import FusedConfig
from visloc_ros.localization.strategies.fused.fused_map import DescribedMap, fuse_map
from visloc_ros.localization.strategies.fused.fusion import FusedQuery
from visloc_ros.localization.strategies.fused.point_index import ExactIndex, half_squares
from visloc_ros.localization.strategies.retrieval.global_index import global_index


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
    found = ExactIndex(fused.codebook).search(FusedQuery(local, unit(np.ones((1, DIM)))[0], 1.0), 1)
    np.testing.assert_array_equal(found.rows[:, 0], scores.argmax(axis=1))
    np.testing.assert_array_equal(found.scores[:, 0], scores.max(axis=1))


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
    one = whole.without(range(1, len(whole.observed)))
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
