"""A room as textured planar quads in the map frame (metres, z up), with analytic ray casting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image

NO_QUAD = -1
_GRAZE = 1e-12
_SKIN = 1e-3  # share of a ray's length within which the point's own surface does not count


@dataclass(frozen=True, eq=False)
class Quad:
    """A rectangle seen from one side: top-left corner, edges ``right`` and ``down`` (3,), RGB texture (H, W, 3)."""

    name: str
    corner: Array
    right: Array
    down: Array
    texture: Image

    @cached_property
    def normal(self) -> Array:
        """Unit vector (3,) towards viewers of the texture."""
        cross = np.cross(self.down, self.right)
        return np.asarray(cross / np.linalg.norm(cross))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in metres."""
        return float(np.linalg.norm(self.right)), float(np.linalg.norm(self.down))

    def point(self, s: ArrayLike, t: ArrayLike) -> Array:
        """Map points (N, 3) at texture coordinates in [0, 1]: ``s`` (N,) to the right, ``t`` (N,) down."""
        along = np.multiply.outer(np.asarray(s, dtype=np.float64), self.right)
        return np.asarray(self.corner + along + np.multiply.outer(np.asarray(t, dtype=np.float64), self.down))

    def with_texture(self, texture: Image) -> Quad:
        """Give the same rectangle another texture."""
        return replace(self, texture=texture)


def make_quad(
    name: str, centre: ArrayLike, normal: ArrayLike, up: ArrayLike, size: tuple[float, float], texture: Image
) -> Quad:
    """Make a quad of ``size`` (width, height) in metres about ``centre``, facing ``normal``, its top towards ``up``."""
    facing, upward = np.asarray(normal, dtype=np.float64), np.asarray(up, dtype=np.float64)
    right, down = np.cross(upward, facing) * size[0], -upward * size[1]
    return Quad(name, np.asarray(centre, dtype=np.float64) - 0.5 * (right + down), right, down, texture)


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays (N,) end: row of the quad or NO_QUAD, and the distance in units of the ray's length (inf: nowhere)."""

    quad_rows: NDArray[np.intp]
    distances: Array


@dataclass(frozen=True, eq=False)
class Room:
    """All quads of a place."""

    quads: tuple[Quad, ...]

    @cached_property
    def size(self) -> Array:
        """Extent (3,) of the place in metres; its lowest corner is the map's origin."""
        return np.asarray(np.max([quad.point([0, 1], [0, 1]).max(axis=0) for quad in self.quads], axis=0))

    @cached_property
    def atlas(self) -> Atlas:
        """All textures in one image."""
        return pack([quad.texture for quad in self.quads])

    def quad(self, name: str) -> Quad:
        """Find a quad by its name. Raises KeyError."""
        return {quad.name: quad for quad in self.quads}[name]

    def cast(self, origins: ArrayLike, directions: ArrayLike) -> Hits:
        """Find what rays (N, 3) from origins (N, 3) or (3,) meet first; quads are seen from their front only."""
        rays = np.asarray(directions, dtype=np.float64).reshape(-1, 3)
        starts = np.broadcast_to(np.asarray(origins, dtype=np.float64), rays.shape)
        hits = Hits(np.full(len(rays), NO_QUAD, dtype=np.intp), np.full(len(rays), np.inf))
        for row, quad in enumerate(self.quads):
            distances = _distances(quad, starts, rays)
            nearer = distances < hits.distances
            hits.distances[nearer] = distances[nearer]
            hits.quad_rows[nearer] = row
        return hits

    def visible_from(self, origin: ArrayLike, points: ArrayLike) -> NDArray[np.bool_]:
        """Which points (N, 3) a light at ``origin`` (3,) reaches; only fronts stop light."""
        start = np.asarray(origin, dtype=np.float64)
        facing = [quad for quad in self.quads if (start - quad.corner) @ quad.normal > _GRAZE]
        edges = [np.stack([quad.right, quad.down, quad.corner - start], axis=1) for quad in facing]
        planes = np.array(edges).reshape(-1, 3, 3)
        # From one origin, (s, t, 1) over the ray parameter is linear in the ray: all quads in one product.
        rays = (np.asarray(points, dtype=np.float64) - start).T.astype(np.float32)
        visible = np.ones(rays.shape[1], dtype=bool)
        for inverse_plane in np.linalg.inv(planes).astype(np.float32):
            s, t, inverse_distance = inverse_plane @ rays
            before = inverse_distance > 1.0 + _SKIN
            visible &= ~(before & (s >= 0) & (s <= inverse_distance) & (t >= 0) & (t <= inverse_distance))
        return visible


def _distances(quad: Quad, origins: Array, rays: Array) -> Array:
    """Ray parameter (N,) where rays meet the quad, inf where they miss it or come from behind."""
    normal = quad.normal
    approach = -(rays @ normal)
    height = (origins - quad.corner) @ normal
    hits = approach > _GRAZE
    distances = height / np.where(hits, approach, 1.0)
    offset = origins + distances[:, None] * rays - quad.corner
    s, t = offset @ quad.right / (quad.right @ quad.right), offset @ quad.down / (quad.down @ quad.down)
    hits &= (distances > 0) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    return np.where(hits, distances, np.inf)


_LEVELS = 5
_PAD: int = 2 ** (_LEVELS - 1)  # a border that still separates neighbours at the coarsest level
_MAX_SIDE = 32767  # cv2.remap addresses its source with 16 bits


@dataclass(frozen=True, eq=False)
class Atlas:
    """Packed textures: the image, each texture's box (N, 4) as x, y, width, height, and each level's corner (L, 2).

    Texture coordinates count texels of level 0 from the corner of the top-left texel; level l is 2^l times smaller.
    """

    image: Image
    boxes: NDArray[np.float64]
    level_corners: NDArray[np.float32]

    @property
    def num_levels(self) -> int:
        """Number of mip levels."""
        return len(self.level_corners)

    def sample(self, x: NDArray[np.float32], y: NDArray[np.float32], level: NDArray[np.intp]) -> Image:
        """Look up RGB (H, W, 3) at texel coordinates of level 0 and the mip level (H, W) of each pixel."""
        shrink = np.float32(0.5) ** np.arange(self.num_levels, dtype=np.float32)
        factor = shrink.take(level)
        left, top = (self.level_corners[:, axis] - np.float32(0.5) for axis in (0, 1))
        return np.asarray(
            cv2.remap(self.image, x * factor + left.take(level), y * factor + top.take(level), cv2.INTER_LINEAR)
        )


def pack(textures: Sequence[Image], width: int = 8192) -> Atlas:
    """Place textures (H, W, 3) on shelves and halve the whole repeatedly. Raises ValueError when they do not fit."""
    boxes, height = _shelves([texture.shape[:2] for texture in textures], width)
    image = np.zeros((height + height // 2, width, 3), dtype=np.uint8)
    for texture, (x, y, w, h) in zip(textures, boxes.astype(int), strict=True):
        padded = cv2.copyMakeBorder(texture, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REPLICATE)
        image[y - _PAD : y + h + _PAD, x - _PAD : x + w + _PAD] = padded
    return Atlas(image, boxes, _add_levels(image, height))


def _shelves(shapes: Sequence[tuple[int, ...]], width: int) -> tuple[NDArray[np.float64], int]:
    """Boxes of textures, tallest first, left to right in rows, and the height that takes."""
    boxes = np.zeros((len(shapes), 4))
    x = y = shelf = 0
    for row in sorted(range(len(shapes)), key=lambda i: -shapes[i][0]):
        h, w = shapes[row]
        full_w, full_h = (_aligned(side + 2 * _PAD) for side in (w, h))
        if x + full_w > width:
            x, y, shelf = 0, y + shelf, 0
        boxes[row] = x + _PAD, y + _PAD, w, h
        x, shelf = x + full_w, max(shelf, full_h)
        if full_w > width or y + shelf > _MAX_SIDE // 2:
            raise ValueError(f"textures do not fit an atlas {width} texels wide: make them smaller")
    return boxes, y + shelf


def _aligned(side: int) -> int:
    """Round up to whole texels of the coarsest level."""
    return side + -side % _PAD


def _add_levels(image: Image, height: int) -> NDArray[np.float32]:
    """Put the smaller levels side by side below the ``height`` rows of level 0; give each level's corner (L, 2)."""
    corners, x, level = [(0, 0)], 0, image[:height]
    for _ in range(1, _LEVELS):
        level = np.asarray(cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        image[height : height + level.shape[0], x : x + level.shape[1]] = level
        corners.append((x, height))
        x += level.shape[1]
    return np.array(corners, dtype=np.float32)
