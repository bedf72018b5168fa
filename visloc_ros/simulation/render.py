"""Exact images of planar quads: every pixel's undistorted ray meets every plane analytically.

A quad's texture coordinates and inverse depth are linear in the ray (x, y, 1), so one 3x3 matrix a quad gives
both, for any camera model. Anti-aliasing averages samples spread over the pixel (and over the exposure time);
mip levels keep each sample band-limited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import HALF_PIXEL, project, rays
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.simulation.room import NO_QUAD, Room

Plane = NDArray[np.float32]

_NEAR = 0.05
_CENTRE = np.zeros(2)


@dataclass(frozen=True, eq=False)
class _RayGrid:
    """Rays (x, y, 1) of all pixels (H, W), and where x and y begin and end: sorted limits by column and by row."""

    x: Plane
    y: Plane
    column_limits: tuple[Plane, Plane]
    row_limits: tuple[Plane, Plane]

    def of(self, rows: slice) -> _RayGrid:
        """The rays of some rows alone."""
        smallest, largest = self.row_limits
        return _RayGrid(self.x[rows], self.y[rows], self.column_limits, (smallest[rows], largest[rows]))

    def spans(self, low: Array, high: Array) -> list[tuple[slice, slice]]:
        """Rows and columns that hold every ray between ``low`` and ``high`` (V, 2), whatever the distortion."""
        columns = _ranges(self.column_limits, low[:, 0], high[:, 0])
        rows = _ranges(self.row_limits, low[:, 1], high[:, 1])
        return list(zip(rows, columns, strict=True))


@dataclass(frozen=True, eq=False)
class _View:
    """Quads in front of a camera: rows (V,), matrices (V, 3, 3) to (s, t, 1) / depth, and their ray bounds (V, 2)."""

    quad_rows: NDArray[np.intp]
    matrices: Array
    low: Array
    high: Array
    plane_distances: Array


class Renderer:
    """Renders a room through one camera. Rays and sample positions are prepared once."""

    def __init__(self, room: Room, camera: pycolmap.Camera, samples: int = 4) -> None:
        """Raises CalibrationError when a pixel of the camera has no ray."""
        self.room, self.camera, self.samples = room, camera, samples
        self._atlas = room.atlas
        self._corners = np.array([quad.corner for quad in room.quads])
        self._edges = np.array([[quad.right, quad.down] for quad in room.quads])
        self._normals = np.array([quad.normal for quad in room.quads])
        lengths = np.linalg.norm(self._edges, axis=2)
        self._texels_per_metre = (self._atlas.boxes[:, 2:] / lengths).max(axis=1)
        self._grids = [_ray_grid(camera, offset) for offset in sample_offsets(samples)]
        self._centre_grid = _ray_grid(camera, _CENTRE)

    def render(self, map_from_camera: SE3) -> Plane:
        """Give the RGB image (H, W, 3) in grey levels 0 to 255 as float32, as seen from one pose."""
        return self.render_exposure([map_from_camera])

    def render_exposure(self, poses: Sequence[SE3], rows: slice | None = None) -> Plane:
        """Average over poses during an exposure; spread over them are ``samples`` samples, or a multiple of it.

        Of the image or of its ``rows`` alone, which a rolling shutter exposes at a different time.
        """
        grids = self._grids if rows is None else [grid.of(rows) for grid in self._grids]
        count = -(-max(self.samples, len(poses)) // self.samples) * self.samples
        total = np.zeros((*grids[0].x.shape, 3), dtype=np.float32)
        for i in range(count):
            sample = i % self.samples
            cv2.accumulate(self._render_sample(poses[i * len(poses) // count], grids[sample], sample), total)
        return np.asarray(total / np.float32(count))

    def depth(self, map_from_camera: SE3) -> Plane:
        """Depth along the optical axis (H, W) in metres at the pixel centres; inf where there is nothing."""
        _, inverse_depth = _nearest(self._centre_grid, self._view(map_from_camera))
        with np.errstate(divide="ignore"):
            return np.asarray(np.float32(1.0) / inverse_depth)

    def _render_sample(self, map_from_camera: SE3, grid: _RayGrid, sample: int) -> NDArray[np.uint8]:
        view = self._view(map_from_camera)
        nearest, inverse_depth = _nearest(grid, view)
        seen = nearest != NO_QUAD
        if not seen.any():
            return np.zeros((*seen.shape, 3), dtype=np.uint8)
        inverse_depth[~seen] = 1.0
        to_texels = self._to_texels(view)
        x, y = (_linear(to_texels[:, axis], nearest, grid) / inverse_depth for axis in (0, 1))
        # Samples round their mip level at different thresholds: their mean blends the levels.
        level = self._level(view, nearest, inverse_depth, (sample + 0.5) / self.samples)
        image = self._atlas.sample(x, y, level)
        image[~seen] = 0
        return image

    def _view(self, map_from_camera: SE3) -> _View:
        camera_from_map = map_from_camera.inverse
        corners = camera_from_map @ self._corners
        right, down = (self._edges[:, side] @ camera_from_map.rotation.T for side in (0, 1))
        distances = ((map_from_camera.translation - self._corners) * self._normals).sum(axis=1)
        low, high = _ray_bounds(np.stack([corners, corners + right, corners + right + down, corners + down], axis=1))
        rows = np.flatnonzero((distances > 1e-6) & np.all(low <= high, axis=1))
        matrices: Array = np.linalg.inv(np.stack([right, down, corners], axis=2)[rows]).astype(np.float64)
        return _View(rows, matrices, low[rows], high[rows], distances[rows])

    def _to_texels(self, view: _View) -> Array:
        """Rows (V, 2, 3) that take a ray to atlas texels over depth."""
        boxes = self._atlas.boxes[view.quad_rows]
        scaled = boxes[:, 2:, None] * view.matrices[:, :2]
        return np.asarray(scaled + boxes[:, :2, None] * view.matrices[:, 2:])

    def _level(self, view: _View, nearest: NDArray[np.intp], inverse_depth: Plane, dither: float) -> NDArray[np.intp]:
        """Mip level whose texel is the geometric mean of the pixel's footprint, depth^1.5 / sqrt(plane distance)."""
        density = self._texels_per_metre[view.quad_rows] / (self.camera.mean_focal_length() * np.sqrt(self.samples))
        offset = np.log2(density / np.sqrt(view.plane_distances)).astype(np.float32)
        level = offset.take(nearest) - np.float32(1.5) * np.log2(inverse_depth) + np.float32(dither)
        return np.asarray(np.clip(level, 0, self._atlas.num_levels - 1).astype(np.intp))


def sample_offsets(count: int) -> Array:
    """Spread ``count`` samples over a pixel: offsets (count, 2) from its centre with mean zero (R2 sequence)."""
    steps = np.arange(1, count + 1)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    offsets = steps % 1.0
    offsets -= offsets.mean(axis=0)
    # Samples are also spread over the exposure: offsets that grow with time would narrow or widen the blur.
    rng, time = np.random.default_rng(0), np.arange(count) - 0.5 * (count - 1)
    orders = (offsets[rng.permutation(count)] for _ in range(100))
    return np.asarray(min(orders, key=lambda ordered: float(np.linalg.norm(time @ ordered))))


def _ray_grid(camera: pycolmap.Camera, offset: Array) -> _RayGrid:
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2) + HALF_PIXEL + offset
    exact = rays(camera, pixels)
    if not np.allclose(project(camera, np.column_stack([exact, np.ones(len(exact))])), pixels, rtol=0, atol=1e-2):
        raise CalibrationError(
            "some pixels have no ray in front of the camera: use a longer focal length or a weaker lens distortion"
        )
    xy = exact.astype(np.float32).reshape(camera.height, camera.width, 2)
    x, y = np.ascontiguousarray(xy[..., 0]), np.ascontiguousarray(xy[..., 1])
    return _RayGrid(x, y, _limits(x.min(axis=0), x.max(axis=0)), _limits(y.min(axis=1), y.max(axis=1)))


def _limits(smallest: Plane, largest: Plane) -> tuple[Plane, Plane]:
    """Make the bounds of each line sortable: the largest so far, and the smallest still to come."""
    return np.maximum.accumulate(largest), np.minimum.accumulate(smallest[::-1])[::-1]


def _ranges(limits: tuple[Plane, Plane], low: Array, high: Array) -> list[slice]:
    """Lines between the first that reaches ``low`` and the last that is not beyond ``high``."""
    begins, ends = np.searchsorted(limits[0], low), np.searchsorted(limits[1], high, side="right")
    return [slice(begin, max(begin, end)) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _nearest(grid: _RayGrid, view: _View) -> tuple[NDArray[np.intp], Plane]:
    """Per pixel the entry of the view that is nearest, or NO_QUAD, and its inverse depth (0 for nothing)."""
    nearest = np.full(grid.x.shape, NO_QUAD, dtype=np.int16)
    inverse_depth = np.zeros(grid.x.shape, dtype=np.float32)
    for entry, (matrix, span) in enumerate(
        zip(view.matrices.astype(np.float32), grid.spans(view.low, view.high), strict=True)
    ):
        x, y, best = grid.x[span], grid.y[span], inverse_depth[span]
        s, t, inverse = (row[0] * x + row[1] * y + row[2] for row in matrix)
        # s and t are still divided by the depth, hence compared with the inverse depth instead of one.
        hit = (s >= 0) & (s <= inverse) & (t >= 0) & (t <= inverse) & (inverse > best)
        np.copyto(best, inverse, where=hit)
        np.copyto(nearest[span], entry, where=hit)
    return nearest.astype(np.intp), inverse_depth


def _linear(rows: Array, nearest: NDArray[np.intp], grid: _RayGrid) -> Plane:
    """Evaluate each pixel's linear form, one of ``rows`` (V, 3), at its ray."""
    a, b, c = (rows[:, i].astype(np.float32).take(nearest) for i in range(3))
    return np.asarray(a * grid.x + b * grid.y + c)


def _ray_bounds(polygons: Array) -> tuple[Array, Array]:
    """Range of (x, y) / z of polygons (V, 4, 3) cut at the near plane: low, high (V, 2); empty if low > high."""
    following = np.roll(polygons, -1, axis=1)
    z, next_z = polygons[..., 2], following[..., 2]
    crossing = (z > _NEAR) != (next_z > _NEAR)
    fraction = (_NEAR - z) / np.where(crossing, next_z - z, 1.0)
    cuts = polygons + fraction[..., None] * (following - polygons)
    points = np.concatenate([polygons, cuts], axis=1)
    valid = np.concatenate([z > _NEAR, crossing], axis=1)[..., None]
    xy = points[..., :2] / np.where(valid, points[..., 2:], 1.0)
    return np.where(valid, xy, np.inf).min(axis=1), np.where(valid, xy, -np.inf).max(axis=1)
