"""Patches of earlier views looked for in the present image, where a pose expects them and as they should look there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import Image
from visloc_ros.map_tracking.views import COARSE, REACH_PX, GreyImage, PosedView
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.patches import PatchSheet, align
from visloc_ros.odometry.klt.tracking import Mask, Pixels, is_inside, pixels_of

_SMALLEST, _LARGEST = 0.2, 5.0  # area of a patch now, as share of what it was
_ALIKE = (0.6, 1.7)  # ... that is compared without loss
_MOST_MISSES = 4  # in a row, before a seed is given up
_MISS_RANK = 0.1  # by which a miss sets a seed back behind others of its view
_LEVELS = 1  # of the pyramid beside the image itself
_FAR = 10_000  # cells in a row of the grid at most


@dataclass(frozen=True, eq=False)
class Targets:
    """Seeds to look for: their view and row there (N,), expected pixels (N, 2), and shapes (N, 2, 2).

    A shape maps offsets in the present image to offsets in the view; ``areas`` (N,) is how large a patch has become.
    """

    views: NDArray[np.intp]
    rows: NDArray[np.intp]
    pixels: Pixels
    shapes: Array
    areas: Array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: NDArray[np.generic] | slice) -> Targets:
        return Targets(self.views[rows], self.rows[rows], self.pixels[rows], self.shapes[rows], self.areas[rows])

    @staticmethod
    def joined(parts: Sequence[Targets]) -> Targets:
        """All targets of several views."""
        columns = [[part.views, part.rows, part.pixels, part.shapes, part.areas] for part in parts]
        return Targets(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def expected_targets(
    views: Sequence[PosedView], picture: GreyImage, camera_from_map: SE3, count: int, margin_px: float
) -> Targets:
    """At most ``count`` seeds that should be in the image, spread over it, the most telling of each place.

    Those that look alike come first, of the oldest view, which slips least; then the newest view, most like now.
    """
    targets = Targets.joined([_project(index, view, picture, camera_from_map) for index, view in enumerate(views)])
    misses = np.concatenate([view.seeds.misses for view in views])
    usable = np.flatnonzero(is_inside(targets.pixels, picture.grey, margin_px) & (misses < _MOST_MISSES))
    targets, misses = targets[usable], misses[usable]
    is_alike = (targets.areas > _ALIKE[0]) & (targets.areas < _ALIKE[1])
    rank = np.where(is_alike, targets.views, 2 * len(views) - targets.views) + _MISS_RANK * misses
    best_first = np.argsort(rank, kind="stable")
    cell = np.sqrt(picture.grey.size / count)
    column, row = (targets.pixels[best_first] // cell).astype(int).T
    _, first = np.unique(row * _FAR + column, return_index=True)
    return targets[best_first[np.sort(first)[:count]]]


def _project(index: int, view: PosedView, picture: GreyImage, camera_from_map: SE3) -> Targets:
    """All seeds of a view as they should appear; those that are not to be seen have no pixel."""
    places = view.places().transpose(1, 0, 2).reshape(-1, 3)
    centres, right, down = pixels_of(picture.camera, camera_from_map @ places).astype(np.float64).reshape(3, -1, 2)
    now_per_then = np.stack([right - centres, down - centres], axis=-1) / REACH_PX
    areas = np.asarray(np.linalg.det(np.nan_to_num(now_per_then)))
    hidden = ~((areas > _SMALLEST) & (areas < _LARGEST))
    now_per_then[hidden] = np.eye(2)
    centres += np.einsum("nij,nj->ni", now_per_then, view.seeds.offsets)
    centres[hidden] = np.nan
    rows = np.arange(len(view.seeds))
    return Targets(
        np.full(len(rows), index),
        rows,
        centres.astype(np.float32),
        np.asarray(np.linalg.inv(now_per_then), dtype=np.float64),
        areas,
    )


def find_targets(
    views: Sequence[PosedView], targets: Targets, picture: GreyImage, config: KltConfig
) -> tuple[Pixels, Mask]:
    """Where the targets are in an image (N, 2), and which of them (N,) were found."""
    return _find(views, targets, picture.grey, targets.pixels, 1, config)


def find_coarsely(
    views: Sequence[PosedView], targets: Targets, picture: GreyImage, config: KltConfig
) -> tuple[Pixels, Mask]:
    """As ``find_targets`` on small images: less exact, but from farther away."""
    found, good = _find(views, targets, picture.coarse, _shrunk(targets.pixels), COARSE, config)
    return np.asarray((found + np.float32(0.5)) * COARSE - np.float32(0.5), dtype=np.float32), good


def _shrunk(pixels: Pixels) -> Pixels:
    return np.asarray((pixels + np.float32(0.5)) / COARSE - np.float32(0.5), dtype=np.float32)


def _find(
    views: Sequence[PosedView], targets: Targets, image: Image, guess: Pixels, reduction: int, config: KltConfig
) -> tuple[Pixels, Mask]:
    sheet = PatchSheet.of(image, config, _LEVELS)
    found, good = guess.copy(), np.zeros(len(targets), dtype=bool)
    for start in range(0, len(targets), sheet.capacity):
        part = slice(start, start + sheet.capacity)
        patches = _patches(views, targets[part], sheet, reduction)
        found[part], good[part] = align(sheet, patches, image, guess[part], config)
    return found, good


def _patches(views: Sequence[PosedView], targets: Targets, sheet: PatchSheet, reduction: int) -> NDArray[np.float32]:
    """Patches (N, cell, cell) as they should look now."""
    patches = np.empty((len(targets), sheet.cell, sheet.cell), dtype=np.float32)
    for index in np.unique(targets.views):
        view, mine = views[index], np.flatnonzero(targets.views == index)
        pixels = view.seeds.pixels[targets.rows[mine]]
        grey, pixels = (view.picture.grey, pixels) if reduction == 1 else (view.picture.coarse, _shrunk(pixels))
        patches[mine] = sheet.cut(grey, pixels, targets.shapes[mine], sheet.cell)
    return patches
