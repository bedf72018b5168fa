"""Views: images of known pose with the map points that they show, from which patches are cut."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import pycolmap
from scipy.spatial import cKDTree

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import Image
from visloc_ros.localization.view_change import view_change
from visloc_ros.map_tracking.map_points import MapPoints, Mask, Rows
from visloc_ros.tracking.patches import STEPS_PX
from visloc_ros.tracking.pixels import Pixels, homogeneous, is_inside, pixels_of, undistort
from visloc_ros.tracking.pyramid import Pyramid

LEAST_DEPTH_SIGMA = 0.003  # relative, of a depth: all observations of a patch share its own error
CONFIRMED = 4  # hits, as many as misses before a seed is given up: the patch is its point's, not something's before it
_NO_COVARIANCE = np.zeros((6, 6))


@dataclass(frozen=True, eq=False)
class PointObservations:
    """Map points by row (N,), and their pixels (N, 2) in an image, (0, 0) being a pixel centre.

    ``shown`` (S, 2) and ``missed`` (M, 2) are pixels where points that were searched are seen, and are not.
    """

    rows: Rows
    pixels: Pixels
    shown: Pixels
    missed: Pixels

    @staticmethod
    def of(rows: Rows, pixels: Pixels) -> PointObservations:
        """Points without others that were searched."""
        return PointObservations(rows, pixels, pixels, pixels[:0])

    @staticmethod
    def none() -> PointObservations:
        """No points at all."""
        return PointObservations.of(np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.float32))

    def without_points(self) -> PointObservations:
        """What is hidden, and no points."""
        return replace(self, rows=self.rows[:0], pixels=self.pixels[:0])

    def hides(self, pixels: Pixels) -> Mask:
        """Whether something hides the points at pixels (N, 2): the nearest one that was searched was missed."""
        if len(self.missed) == 0:
            return np.zeros(len(pixels), dtype=bool)
        _, nearest = cKDTree(np.concatenate([self.shown, self.missed])).query(pixels)
        return np.asarray(nearest >= len(self.shown))


@dataclass(frozen=True, eq=False)
class GreyImage:
    """A grey image (H, W), its camera, and ``reduction``, how much smaller it is than the camera's own images."""

    stamp_ns: int
    grey: Image
    camera: pycolmap.Camera
    reduction: float

    @cached_property
    def pyramid(self) -> Pyramid:
        """The image and its halves."""
        return Pyramid(self.grey)


@dataclass(frozen=True, eq=False)
class Seeds:
    """Map points by row (N,), centres (N, 2) of their patches in a view, and their ``offsets`` (N, 2) from the points.

    ``directions`` (N, 3, 3) are lines of sight in map axes with depth 1: of the point, and of pixels to the right of it
    and below it. ``inverse_depths`` (N,), with standard deviations ``sigmas`` (N,), are learnt while the points are
    followed, and ``misses`` (N,) counts how often in a row a point was not where it should be, ``hits`` (N,) how often
    it was.
    """

    rows: Rows
    pixels: Pixels
    offsets: Array
    directions: Array
    inverse_depths: Array
    sigmas: Array
    misses: Rows
    hits: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, kept: Mask) -> Seeds:
        return Seeds(*(getattr(self, one.name)[kept] for one in fields(self)))


@dataclass(frozen=True, eq=False)
class PosedView:
    """A picture with its pose, that pose's covariance (6, 6), the anchor taken as true, and the points it shows."""

    picture: GreyImage
    map_from_camera: SE3
    covariance: Array
    seeds: Seeds

    @cached_property
    def depth(self) -> float:
        """Distance of its points as first known; 0 without any."""
        return 1.0 / float(np.median(self.seeds.inverse_depths)) if len(self.seeds) else 0.0

    def change_to(self, map_from_camera: SE3) -> float:
        """View change in radians to another camera."""
        return view_change(self.map_from_camera, self.depth, map_from_camera)


def make_view(
    picture: GreyImage, pose: SE3, covariance: Array, observed: PointObservations, points: MapPoints, margin_px: float
) -> PosedView:
    """View of all points that ``map_from_camera`` should see, at least ``margin_px`` from the image's border.

    Sighted points have their patches where they were found, and hold the pose to the map; the others have them at
    their projections, and hold the pose to the view.
    """
    rows, first = np.unique(observed.rows, return_index=True)
    others = np.setdiff1d(points.seen_from(pose), rows)
    found = np.concatenate([observed.pixels[first], np.full((len(others), 2), np.nan, dtype=np.float32)])
    seeds = _place(np.concatenate([rows, others]), found, points, picture, pose, margin_px)
    is_shown = np.isin(seeds.rows, rows) | ~observed.hides(seeds.pixels)
    return PosedView(picture, pose, covariance, seeds[is_shown])


def anchor_view(
    picture: GreyImage, pose: SE3, pixels: Array, inlier_points: Array, points: MapPoints, margin_px: float
) -> PosedView:
    """View of an anchor's image with its inliers: COLMAP pixels (N, 2) of the camera's own image, points (N, 3)."""
    rows, known = points.rows_of(inlier_points, pose.translation)
    centred = (pixels[known] / picture.reduction - 0.5).astype(np.float32)
    return make_view(picture, pose, _NO_COVARIANCE, PointObservations.of(rows[known], centred), points, margin_px)


def map_view(
    picture: GreyImage, pose: SE3, observed: PointObservations, points: MapPoints, margin_px: float
) -> PosedView:
    """View of a map image with its own keypoints of points."""
    rows, first = np.unique(observed.rows, return_index=True)
    seeds = _place(rows, observed.pixels[first], points, picture, pose, margin_px)
    return PosedView(picture, pose, _NO_COVARIANCE, seeds)


def _place(rows: Rows, found: Pixels, points: MapPoints, picture: GreyImage, pose: SE3, margin_px: float) -> Seeds:
    """Seeds for the points whose patches lie in the image; ``found`` (N, 2) is NaN where the pose gives the place."""
    local = pose.inverse @ points.points[rows]
    projected = np.full((len(rows), 2), np.nan, dtype=np.float32)
    ahead = local[:, 2] > 0.0
    projected[ahead] = pixels_of(picture.camera, local[ahead])
    pixels = np.where(np.isfinite(found), found, projected)
    inside = is_inside(projected, picture.grey, 0.0) & is_inside(pixels, picture.grey, margin_px)
    kept = np.flatnonzero(inside)
    rays, exact = _rays_about(picture.camera, projected[kept])
    kept, directions = kept[exact], rays[exact] @ pose.rotation.T
    depths = local[kept, 2]
    shares = _depth_sigmas(directions[:, 0], points.covariances_of(rows[kept])) / depths
    return Seeds(
        rows[kept],
        pixels[kept],
        (pixels[kept] - projected[kept]).astype(np.float64),
        directions,
        1.0 / depths,
        np.maximum(shares, LEAST_DEPTH_SIGMA) / depths,
        np.zeros(len(kept), dtype=np.int64),
        np.where(np.isfinite(found[kept, 0]), CONFIRMED, 0),
    )


def _depth_sigmas(directions: Array, covariances: Array) -> Array:
    """Standard deviations (N,) of depths, from covariances (N, 3, 3) of points on lines of sight (N, 3) of depth 1."""
    squares = np.square(directions).sum(axis=1)
    return np.asarray(np.sqrt(np.einsum("ni,nij,nj->n", directions, covariances, directions)) / squares)


def _rays_about(camera: pycolmap.Camera, pixels: Pixels) -> tuple[Array, Mask]:
    """Rays (N, 3, 3) of depth 1 of pixels (N, 2) and of those right and below; which (N,) the lens model describes."""
    rays, known = undistort(camera, (pixels + STEPS_PX[:, None]).reshape(-1, 2))
    stacked = homogeneous(rays).reshape(3, -1, 3).transpose(1, 0, 2)
    return np.ascontiguousarray(stacked), np.asarray(known.reshape(3, -1).all(axis=0))
