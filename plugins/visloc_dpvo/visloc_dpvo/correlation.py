"""Correlation of every pixel of a patch with the features around its projection, on two levels (Teed et al. 2023).

The windows of a patch's nine pixels overlap almost wholly: their common window is gathered once and multiplied with
all nine in one matrix product, and each pixel picks its own 8x8 products from it, to interpolate 7x7 values. Edges
whose projection is torn wide apart are taken pixel by pixel. Edges are worked through in pieces, so the memory does
not depend on their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

RADIUS = 3
_SIDE = 2 * RADIUS + 1
_TAPS = _SIDE + 1  # integer positions along a side that interpolation needs
_LEVEL_SCALES = 1.0, 0.25
_BEYOND = 16.0  # farther outside the map than a window reaches
_WIDEST_SPREAD = 6  # pixels between the windows of one patch up to which they share their gathered features


class _Portion(NamedTuple):
    """Sizes of a batch: gathered positions, and spreads that are treated as the largest among them."""

    taps: int
    spreads: int


# A CPU is fast with pieces that fit its cache and without superfluous taps; a GPU with few and large pieces.
_PORTIONS = {"cpu": _Portion(1 << 13, 1), "cuda": _Portion(1 << 21, 3)}


def correlate(
    gmap: Tensor, pyramid: tuple[Tensor, Tensor], coords: Tensor, patch_rows: Tensor, frame_rows: Tensor
) -> Tensor:
    """Correlation (E, 882) of patches ``gmap[patch_rows]`` with maps ``pyramid[level][frame_rows]`` at ``coords``.

    ``gmap`` (K, C, 3, 3); ``pyramid`` (R, C, h, w) and its 4x4 average (R, C, h // 4, w // 4), best laid out
    channels_last, else a copy is made; ``coords`` (E, 2, 3, 3) in pixels of the first level. The flat index runs over
    x offset, y offset, patch row, patch column, level, the last fastest. What lies outside the map counts as zero.
    """
    result = gmap.new_empty(len(coords), _SIDE * _SIDE, gmap.shape[2] * gmap.shape[3], len(pyramid))
    for level, (maps, scale) in enumerate(zip(pyramid, _LEVEL_SCALES, strict=True)):
        features = _Features(maps)
        points = features.limit(scale * coords.flatten(2).transpose(1, 2))
        for edges, side, together in _batches(points):
            patches = gmap.index_select(0, patch_rows[edges]).flatten(2).transpose(1, 2)
            places, frames = points[edges], frame_rows[edges]
            if not together:
                frames = frames.repeat_interleave(places.shape[1])
                patches, places = patches.flatten(0, 1)[:, None], places.flatten(0, 1)[:, None]
            values = _correlate_windows(features, patches, places, frames, side)
            result[edges, ..., level] = values.view(len(edges), -1, _SIDE * _SIDE).transpose(1, 2).to(result.dtype)
    return result.flatten(1)


class _Features:
    """Maps (R, C, h, w) as rows of features, which single positions can be gathered from."""

    def __init__(self, maps: Tensor) -> None:
        self.height, self.width = maps.shape[2:]
        self.rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])

    def limit(self, points: Tensor) -> Tensor:
        """Points (E, P, 2) brought near the map; those that are moved see nothing but zeros before and after."""
        points = points.nan_to_num(nan=-_BEYOND)
        high = points.new_tensor([self.width, self.height]) + _BEYOND
        return points.clamp(min=-_BEYOND).minimum(high)

    def gather(self, frames: Tensor, corners: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Features (B, side^2, C), rows of x, at integer windows from ``corners`` (B, 2) on, and which are inside."""
        around = torch.arange(side, device=corners.device)
        x, y = corners[:, :1] + around, corners[:, 1:] + around
        inside = ((y >= 0) & (y < self.height))[:, :, None] & ((x >= 0) & (x < self.width))[:, None]
        row = frames[:, None] * self.height + y.clamp(0, self.height - 1)
        index = row[:, :, None] * self.width + x.clamp(0, self.width - 1)[:, None]
        taps = self.rows.index_select(0, index.flatten())
        return taps.view(len(frames), side * side, -1), inside.flatten(1)


def _batches(points: Tensor) -> Iterator[tuple[Tensor, int, bool]]:
    """Edges in pieces of bounded memory, the side of their windows, and whether pixels (E, P, 2) share a window."""
    portion = _PORTIONS[points.device.type]
    floors = points.floor()
    spread = (floors.amax(1) - floors.amin(1)).amax(1).clamp(max=_WIDEST_SPREAD + 1).long()
    size_class = (spread + portion.spreads - 1) // portion.spreads
    order = torch.sort(size_class, stable=True).indices
    begin = 0
    for widest, count in enumerate(torch.bincount(size_class).tolist()):
        together = widest * portion.spreads <= _WIDEST_SPREAD
        side = _TAPS + widest * portion.spreads if together else _TAPS
        taps = side**2 if together else points.shape[1] * side**2
        at_a_time = max(portion.taps // taps, 1)
        for first in range(begin, begin + count, at_a_time):
            yield order[first : min(first + at_a_time, begin + count)], side, together
        begin += count


def _correlate_windows(features: _Features, patches: Tensor, points: Tensor, frames: Tensor, side: int) -> Tensor:
    """Values (B, P, 49), x offset slow, of patch pixels (B, P, C) around points (B, P, 2) of maps ``frames`` (B,).

    The P points need no more than one window of ``side`` x ``side`` positions.
    """
    floors = points.floor()
    corners = floors.amin(1)
    shift = (floors - corners[:, None]).long()
    taps, inside = features.gather(frames, corners.long() - RADIUS, side)
    products = (patches @ taps.transpose(1, 2)) * inside[:, None]
    window = torch.arange(_TAPS, device=points.device)
    x, y = shift[..., :1] + window, shift[..., 1:] + window
    picked = products.gather(2, (y[..., None, :] * side + x[..., None]).flatten(2)).view(*shift.shape[:2], _TAPS, _TAPS)
    picked = picked.float()  # so that half precision rounds the products only
    fraction_x, fraction_y = (points - floors)[..., None, None].unbind(2)
    along_x = torch.lerp(picked[:, :, :-1], picked[:, :, 1:], fraction_x)
    return torch.lerp(along_x[..., :-1], along_x[..., 1:], fraction_y).flatten(2)
