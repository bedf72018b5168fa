"""Virtual reference frames: of each landmark the view that shows most of it, and the map thinned out around these.

After PRAM (Xue et al. 2024, arXiv 2404.07785), the version by projection. Of the image a frame keeps only its pose and
camera: its features are the projections of points, with the points' descriptors. The points of virtual frames stay;
their most covisible views, one after the other, add those points that project near no point kept before, in any frame
that shows both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_search.landmarks.clustering import POSE_POINTS
from visloc_search.reduced_map.frames import Covisibility, Rows, View, is_inside

_COVISIBLE_VIEWS = 30
_MIN_SEEN = 150  # points of any landmark: a view with few has little to match where the landmark is in doubt
_MOST_CANDIDATES = 500


def choose_virtual_frames(seen: Sequence[Rows], labels: NDArray[np.integer]) -> list[int]:
    """Rows of the views that stand for each landmark (1 to the largest label): those that show most of it.

    ``seen`` are rows of the points that each view shows, ``labels`` (P,) their landmarks. Raises MapError where no view
    shows anything of a landmark.
    """
    totals = np.array([len(rows) for rows in seen])
    count = int(labels.max()) + 1
    shown = np.stack([np.bincount(labels[rows], minlength=count) for rows in seen])
    return [_choose(shown[:, label], totals, label) for label in range(1, count)]


def _choose(shown: NDArray[np.intp], totals: NDArray[np.intp], label: int) -> int:
    """The view that stands for a landmark, by how many of its points each shows, and how many points in total.

    It should show enough of the landmark for a pose, and enough in total; where none does, views with less are taken.
    """
    if not shown.any():
        raise MapError(f"no image shows landmark {label} of the map: its points do not fit its poses, build it again")
    tiers = ((shown >= POSE_POINTS) & (totals >= _MIN_SEEN), shown >= POSE_POINTS, shown > 0)
    fit = np.flatnonzero(next(tier for tier in tiers if tier.any()))
    candidates = fit[np.argsort(-totals[fit], kind="stable")][:_MOST_CANDIDATES]
    return int(candidates[np.argmax(shown[candidates])])


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
