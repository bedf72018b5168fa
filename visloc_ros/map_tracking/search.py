"""Searches patches of earlier views in the present image, at their predicted places and warped to their new look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.map_tracking.views import GreyImage, PosedView
from visloc_ros.tracking.patches import Patches, change_of_shape, find_patches, inverted
from visloc_ros.tracking.pixels import Mask, Pixels, is_inside, pixels_of

_SMALLEST, _LARGEST = 0.2, 5.0  # area of a patch now, as share of what it was
_ALIKE = (0.6, 1.7)  # ... that is compared without loss
_MOST_MISSES = 4  # in a row, before a seed is given up
_MISS_RANK = 0.1  # by which a miss lowers the rank of a seed in its view
_FAR = 10_000  # cells in a row of the grid at most


@dataclass(frozen=True, eq=False)
class Targets:
    """Seeds to search: their view and row there (N,), expected pixels (N, 2), and shapes (N, 2, 2).

    A shape maps offsets in the present image to offsets in the view; ``areas`` (N,) are ratios of a patch's area now.
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
    """At most ``count`` seeds that should be in the image, spread over it, the best of each place.

    Patches of about the same size come first, of these the oldest view's, which slip least; then the newest view's.
    """
    parts = [_project(index, view, picture, camera_from_map, margin_px) for index, view in enumerate(views)]
    targets = Targets.joined(parts)
    misses = np.concatenate([view.seeds.misses[part.rows] for view, part in zip(views, parts, strict=True)])
    is_alike = (targets.areas > _ALIKE[0]) & (targets.areas < _ALIKE[1])
    rank = np.where(is_alike, targets.views, 2 * len(views) - targets.views) + _MISS_RANK * misses
    best_first = np.argsort(rank, kind="stable")
    cell = np.sqrt(picture.grey.size / count)
    column, row = (targets.pixels[best_first] // cell).astype(int).T
    _, first = np.unique(row * _FAR + column, return_index=True)
    return targets[best_first[np.sort(first)[:count]]]


def _project(index: int, view: PosedView, picture: GreyImage, camera_from_map: SE3, margin_px: float) -> Targets:
    """The seeds of a view that should be in the image, as they should appear there."""
    seeds, rows = view.seeds, np.flatnonzero(view.seeds.misses < _MOST_MISSES)
    centres = _pixels_of(view, rows, 0, picture, camera_from_map)
    in_image = np.flatnonzero(is_inside(centres, picture.grey, 0.0))  # only these need a shape
    rows, centres = rows[in_image], centres[in_image]
    right, down = (_pixels_of(view, rows, place, picture, camera_from_map) for place in (1, 2))
    now_per_then, areas = change_of_shape(centres, right, down)
    centres += np.einsum("nij,nj->ni", now_per_then, seeds.offsets[rows])
    is_seen = (areas > _SMALLEST) & (areas < _LARGEST) & is_inside(centres, picture.grey, margin_px)
    rows, centres, areas = rows[is_seen], centres[is_seen], areas[is_seen]
    shapes = inverted(now_per_then[is_seen], areas)
    return Targets(np.full(len(rows), index), rows, centres.astype(np.float32), shapes, areas)


def _pixels_of(view: PosedView, rows: NDArray[np.intp], place: int, picture: GreyImage, camera_from_map: SE3) -> Array:
    """Pixels (N, 2) of seeds, or of places right of (1) or below them (2), on planes that face the view's camera."""
    seeds = view.seeds
    points = view.map_from_camera.translation + seeds.directions[rows, place] / seeds.inverse_depths[rows, None]
    return pixels_of(picture.camera, camera_from_map @ points).astype(np.float64)


def find_targets(
    views: Sequence[PosedView], targets: Targets, picture: GreyImage, window_px: int, finest: int = 0, levels: int = 2
) -> tuple[Pixels, Mask]:
    """Where the targets are in an image (N, 2), and which of them (N,) were found.

    The search uses ``levels`` levels of the pyramid, and ends on the ``finest`` one.
    """
    centres = np.empty((len(targets), 2), dtype=np.float32)
    for index, view in enumerate(views):
        mine = targets.views == index
        centres[mine] = view.seeds.pixels[targets.rows[mine]]
    patches = Patches([view.picture.pyramid for view in views], targets.views, centres, targets.shapes)
    return find_patches(patches, picture.pyramid, targets.pixels, window_px, finest + levels - 1, finest)
