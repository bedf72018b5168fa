"""Correlation against the definition, one dot product at a time."""

import itertools
import math

import numpy as np
import pytest
import torch

from visloc_dpvo import correlation
from visloc_dpvo.correlation import correlate

CHANNELS, HEIGHT, WIDTH = 8, 13, 18
CENTRES = {
    "inside": (8.3, 6.7),
    "integer": (9.0, 5.0),
    "integer on the second level": (8.0, 4.0),
    "near the left border": (0.4, 6.2),
    "near the lower right corner": (16.9, 12.6),
    "negative": (-2.6, -1.3),
    "just seen": (-3.5, 5.5),
    "far outside": (-1e4, 3e7),
}


def patch_around(x: float, y: float, step: float = 1.1) -> np.ndarray:
    """Pixels (2, 3, 3) of a patch that is a little turned and larger than it was."""
    around = step * np.arange(-1, 2)
    return np.stack((x + around + 0.1 * around[:, None], y + around[:, None] - 0.1 * around))


def by_definition(patch: np.ndarray, levels: list[np.ndarray], coords: np.ndarray) -> np.ndarray:
    """Values (7, 7, 3, 3, 2) over x offset, y offset, row, column, level."""
    values = np.zeros((7, 7, 3, 3, 2))
    for ox, oy, row, col, level in itertools.product(range(7), range(7), range(3), range(3), range(2)):
        x, y = coords[:, row, col] / 4**level + (ox - 3, oy - 3)
        values[ox, oy, row, col, level] = patch[:, row, col] @ bilinear(levels[level], x, y)
    return values


def bilinear(features: np.ndarray, x: float, y: float) -> np.ndarray:
    left, top = math.floor(x), math.floor(y)
    total = np.zeros(len(features))
    for column, row in itertools.product((left, left + 1), (top, top + 1)):
        if 0 <= column < features.shape[2] and 0 <= row < features.shape[1]:
            total += (1 - abs(x - column)) * (1 - abs(y - row)) * features[:, row, column]
    return total


@pytest.fixture
def maps():
    """Patches and a pyramid of three frames."""
    random = np.random.default_rng(5)
    fine = random.normal(size=(3, CHANNELS, HEIGHT, WIDTH))
    coarse = fine[:, :, : HEIGHT // 4 * 4, : WIDTH // 4 * 4].reshape(3, CHANNELS, HEIGHT // 4, 4, WIDTH // 4, 4)
    return random.normal(size=(5, CHANNELS, 3, 3)), fine, coarse.mean((3, 5))


def check(maps, coords: np.ndarray) -> None:
    gmap, fine, coarse = maps
    patch_rows, frame_rows = np.arange(len(coords)) % 5, np.arange(len(coords)) % 3
    pyramid = tuple(torch.from_numpy(level).float() for level in (fine, coarse))
    ours = correlate(
        torch.from_numpy(gmap).float(),
        pyramid,
        torch.from_numpy(coords).float(),
        torch.from_numpy(patch_rows),
        torch.from_numpy(frame_rows),
    )
    exact = coords.astype(np.float32).astype(np.float64)
    expected = [
        by_definition(gmap[patch], [fine[frame], coarse[frame]], points).ravel()
        for patch, frame, points in zip(patch_rows, frame_rows, exact, strict=True)
    ]
    assert np.allclose(ours.numpy(), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("centre", CENTRES.values(), ids=CENTRES)
def test_every_value_is_a_product_with_interpolated_features(maps, centre):
    check(maps, patch_around(*centre)[None])


@pytest.mark.parametrize("step", [0.0, -1.0, 2.5, 6.0, 40.0])
def test_patches_may_be_small_mirrored_or_torn_apart(maps, step):
    check(maps, patch_around(8.2, 6.1, step)[None])


@pytest.mark.parametrize("spreads", [1, 2, 3])
def test_edges_of_all_kinds_together_keep_their_order(maps, spreads, monkeypatch):
    monkeypatch.setitem(correlation._PORTIONS, "cpu", correlation._Portion(300, spreads))
    steps = (1.0, 5.0, 30.0)
    check(maps, np.stack([patch_around(x, y, step) for step in steps for x, y in list(CENTRES.values())[:4]]))


def test_a_point_without_place_sees_nothing(maps):
    gmap, fine, coarse = (torch.from_numpy(array).float() for array in maps)
    coords = torch.full((1, 2, 3, 3), torch.nan)
    row = torch.zeros(1, dtype=torch.long)
    assert not correlate(gmap, (fine, coarse), coords, row, row).any()


def test_no_edges_give_no_values(maps):
    gmap, fine, coarse = (torch.from_numpy(array).float() for array in maps)
    none = torch.zeros(0, dtype=torch.long)
    assert correlate(gmap, (fine, coarse), torch.zeros(0, 2, 3, 3), none, none).shape == (0, 882)


def test_the_layout_in_memory_does_not_matter(maps):
    gmap, fine, coarse = (torch.from_numpy(array).float() for array in maps)
    coords = torch.from_numpy(patch_around(7.7, 5.2)[None]).float()
    row = torch.ones(1, dtype=torch.long)
    plain = correlate(gmap, (fine, coarse), coords, row, row)
    last = tuple(level.contiguous(memory_format=torch.channels_last) for level in (fine, coarse))
    assert torch.equal(correlate(gmap, last, coords, row, row), plain)
