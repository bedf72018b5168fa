"""Light baked into textures: area lamps with soft shadows, and ambient light that is weaker in nooks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.simulation.room import Quad, Room

_CELL = 0.12  # metres between the points where the light is computed
_SHADOW_RAYS = 16
_DISPLAY_GAMMA = 1 / 2.2


@dataclass(frozen=True, eq=False)
class Lamp:
    """A rectangle that shines to its front: centre (3,), half edges (2, 3) in metres, RGB strength (3,)."""

    centre: tuple[float, float, float]
    half_edges: tuple[tuple[float, float, float], tuple[float, float, float]]
    strength: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Light:
    """Ambient RGB light (3,) and lamps; 1 leaves a texture as bright as it was painted."""

    ambient: tuple[float, float, float]
    lamps: tuple[Lamp, ...]


def bake(room: Room, light: Light) -> Room:
    """Give the room's textures the shading of a light."""
    grids = [_light_grid(quad) for quad in room.quads]
    counts = [rows * columns for rows, columns in grids]
    points = np.concatenate([_grid_points(quad, grid) for quad, grid in zip(room.quads, grids, strict=True)])
    normals = np.repeat([quad.normal for quad in room.quads], counts, axis=0)
    gains = np.power(_irradiance(room, light, points, normals), _DISPLAY_GAMMA).astype(np.float32)
    parts = zip(room.quads, grids, np.split(gains, np.cumsum(counts)[:-1]), strict=True)
    return Room(tuple(quad.with_texture(_shade(quad.texture, part.reshape(*grid, 3))) for quad, grid, part in parts))


def _light_grid(quad: Quad) -> tuple[int, int]:
    """Rows and columns of cells over a quad."""
    width, height = quad.size
    return max(2, round(height / _CELL)), max(2, round(width / _CELL))


def _grid_points(quad: Quad, grid: tuple[int, int]) -> Array:
    rows, columns = grid
    s, t = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    return quad.point(s.ravel(), t.ravel())


def _shade(texture: Image, gain: NDArray[np.float32]) -> Image:
    height, width = texture.shape[:2]
    smooth = cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(texture, smooth, dtype=cv2.CV_8U))


def _irradiance(room: Room, light: Light, points: Array, normals: Array) -> Array:
    """RGB light (N, 3) that reaches points (N, 3) of surfaces with the given normals (N, 3)."""
    total = np.outer(_ambient_factor(room, points, normals), light.ambient)
    for lamp in light.lamps:
        total += np.outer(_lamp_factor(room, points, normals, lamp), lamp.strength)
    return np.asarray(total)


def _ambient_factor(room: Room, points: Array, normals: Array) -> Array:
    """Light (N,) from everywhere: what points see of a lattice of weak sources that fills the room."""
    total = np.zeros(len(points))
    sources = room.size * np.array(list(itertools.product((0.12, 0.38, 0.62, 0.88), (0.2, 0.5, 0.8), (0.3, 0.85))))
    for source in sources:
        rays = source - points
        cosines = (rays * normals).sum(axis=1) / np.linalg.norm(rays, axis=1)
        total += (0.5 + 0.5 * cosines) * room.visible_from(source, points)
    return 0.25 + 0.9 * total / len(sources)


def _lamp_factor(room: Room, points: Array, normals: Array, lamp: Lamp) -> Array:
    """Light (N,) from a lamp, averaged over points of the lamp."""
    half = np.array(lamp.half_edges)
    facing = np.cross(half[0], half[1])
    facing /= np.linalg.norm(facing)
    total = np.zeros(len(points))
    for source in np.array(lamp.centre) + _lattice() @ half:
        rays = source - points
        squared = (rays**2).sum(axis=1)
        cosines = np.clip((rays * normals).sum(axis=1), 0, None) * np.clip(-(rays @ facing), 0, None) / squared
        total += cosines / (squared + 1.0) * room.visible_from(source, points)
    return total / _SHADOW_RAYS


def _lattice() -> Array:
    """Positions (_SHADOW_RAYS, 2) spread over [-1, 1]^2 (R2 sequence)."""
    steps = np.arange(_SHADOW_RAYS)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    return np.asarray(2.0 * ((steps + 0.5) % 1.0) - 1.0)
