"""A map thinned out around its virtual reference frames: their points stay, and other points that fill the gaps.

After PRAM (Xue et al. 2024, arXiv 2404.07785), the version by projection: each virtual frame's most covisible views,
one after the other, add those points that project near no point kept before, in any frame that shows both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import Array
from visloc_ros.localization.reduced_map.views import Covisibility, Rows, View, is_inside

_COVISIBLE_VIEWS = 30


@dataclass(frozen=True, eq=False)
class Kept:
    """The rest of a map: rows of views and rows of points, both ascending."""

    views: list[int]
    points: Rows


def sparsify(views: Sequence[View], points: Array, virtual: Sequence[int], radius: float) -> Kept:
    """Keep the points of the virtual frames (rows of views), and of covisible views the points that fill gaps.

    ``points`` (P, 3) in the map's frame; ``radius`` is a share of the longer side of an image, 0 keeps all points of
    the covisible views.
    """
    covisibility = Covisibility([view.point_rows for view in views], len(points))
    kept = {row: _KeptFrame(views[row], views[row].point_rows, radius) for row in virtual}
    for row in virtual:
        before = [kept[row]]
        for other in covisibility.rank(row, _COVISIBLE_VIEWS):
            if other not in kept:
                rows = _far_from(before, views[other].point_rows, points)
                if len(rows) == 0:
                    continue
                kept[other] = _KeptFrame(views[other], rows, radius)
            before.append(kept[other])
    return Kept(sorted(kept), np.unique(np.concatenate([frame.point_rows for frame in kept.values()])))


class _KeptFrame:
    """A view with those of its points that it keeps, and where they are in its image."""

    def __init__(self, view: View, point_rows: Rows, radius: float) -> None:
        from scipy.spatial import cKDTree  # takes 0.2 s, so it is imported only when needed

        self.point_rows = point_rows
        self._view = view
        self._radius = radius * max(view.camera.width, view.camera.height)
        self._tree: Any = cKDTree(view.pixels[np.isin(view.point_rows, point_rows)])

    def leaves(self, points: Array) -> NDArray[np.bool_]:
        """Which points (N, 3) project near none that the frame keeps, or not into it."""
        pixels = project(self._view.camera, self._view.map_from_camera.inverse @ points)
        inside = is_inside(self._view.camera, pixels)
        free = np.ones(len(points), bool)
        free[inside] = ~np.isfinite(self._tree.query(pixels[inside], distance_upper_bound=self._radius)[0])
        return free


def _far_from(frames: Sequence[_KeptFrame], point_rows: Rows, points: Array) -> Rows:
    """Those of the rows (N,) of points (P, 3) that are near no kept point in any of the frames."""
    for frame in frames:
        point_rows = point_rows[frame.leaves(points[point_rows])]
        if len(point_rows) == 0:
            break
    return point_rows
