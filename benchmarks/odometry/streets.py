"""Drives through rendered streets with corners, the truth known exactly.

Houses, parked cars and lamp posts stand along the streets of a square grid; the camera drives as one on a car does,
ten images a second, as wide as KITTI's small images and with their field of view.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_matrix
from visloc_ros.core.types import Image
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.room import Quad, Room, make_quad
from visloc_ros.simulation.textures import Rng, add_specks, finish, fractal, texels, tint
from visloc_ros.simulation.writer import write_folder

_X, _Y, _Z = np.eye(3)
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # camera axes of one that looks along x

BLOCK_M, STREET_M = 60.0, 14.0  # length of a block's side; between the houses of both sides
_PITCH_M = BLOCK_M + STREET_M
_SPEED_M_S, _CORNER_M, _CAMERA_M = 7.0, 9.0, 1.65  # speed, radius of a corner, height of the camera
_ARC_M = 0.5 * np.pi * _CORNER_M  # length of a corner
_FACADE_DENSITY, _GROUND_DENSITY, _PAINT_DENSITY = 24.0, 16.0, 32.0  # texels a metre
_CONFIG = SimulationConfig(
    width=416, height=192, focal_px=241.0, lens="none", rate_hz=10.0, light="none", exposure_ms=3.0, noise_std=2.0
)

DRIVES = {
    "around the block": ((0, 0), (2, 0), (2, 2), (0, 2), (0, 0)),
    "zigzag": ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2)),
    "one corner": ((0, 0), (3, 0), (3, 1)),
}
"""Crossings (column, row) of the grid that each drive passes."""


@dataclass(frozen=True)
class Drive:
    """A drive at a steady speed along straight streets, with an arc at every corner."""

    crossings: Sequence[tuple[int, int]]

    @property
    def duration_s(self) -> float:
        """How long it takes."""
        return sum(leg.length for leg in self._legs) / _SPEED_M_S

    def pose(self, seconds: float) -> SE3:
        """Give ``map_from_camera`` at a time."""
        leg, distance = self._leg_at(seconds * _SPEED_M_S)
        position, heading = leg.after(distance)
        pitch, roll, bounce = (size * np.sin(2 * np.pi * seconds / period) for size, period in _SUSPENSION)
        turn = rotation_matrix(heading * _Z) @ rotation_matrix(pitch * _Y) @ rotation_matrix(roll * _X)
        return SE3(turn @ _OPTICAL, np.append(position, _CAMERA_M + bounce))

    def _leg_at(self, distance: float) -> tuple[_Leg, float]:
        """The leg that is driven after so many metres, and how far."""
        for leg in self._legs[:-1]:
            if distance <= leg.length:
                return leg, distance
            distance -= leg.length
        return self._legs[-1], distance

    @cached_property
    def _legs(self) -> list[_Leg]:
        """Straight lines with an arc from each to the next."""
        corners = _PITCH_M * np.array(self.crossings, dtype=np.float64)
        ways = np.diff(corners, axis=0)
        lengths, headings = np.linalg.norm(ways, axis=1), np.unwrap(np.arctan2(ways[:, 1], ways[:, 0]))
        changes = np.append(np.diff(headings), 0.0)
        legs, cut_before = [], 0.0
        for corner, way, length, heading, change in zip(corners, ways, lengths, headings, changes, strict=False):
            cut_after = _CORNER_M if change else 0.0
            along = way / length
            legs.append(_Leg(corner + cut_before * along, heading, 0.0, length - cut_before - cut_after))
            if change:
                legs.append(_Leg(corner + way - cut_after * along, heading, np.sign(change) / _CORNER_M, _ARC_M))
            cut_before = cut_after
        return legs


class _Leg(NamedTuple):
    """A straight line or an arc: where it begins (2,), its heading in radians, curvature (to the left) and length."""

    begin: Array
    heading: float
    curvature: float
    length: float

    def after(self, distance: float) -> tuple[Array, float]:
        """Position (2,) and heading in radians after so many metres of it."""
        turned = self.curvature * distance
        local = np.array([distance, 0.0])
        if self.curvature:
            local = np.array([np.sin(turned), 1.0 - np.cos(turned)]) / self.curvature
        return self.begin + rotation_matrix(self.heading * _Z)[:2, :2] @ local, self.heading + turned


_SUSPENSION = ((0.006, 1.3), (0.008, 2.1), (0.015, 1.1))  # pitch and roll in radians, bounce in metres; periods in s


def write_drive(name: str, seed: int, folder: Path) -> Path:
    """Render a drive into an image folder with its truth, unless it is there already."""
    drive = Drive(DRIVES[name])
    if not folder.exists():
        config = replace(_CONFIG, duration_s=drive.duration_s, seed=seed)
        write_folder(simulate(config, room=make_streets(drive.crossings, seed), path=drive), folder)
    return folder


def make_streets(crossings: Sequence[tuple[int, int]], seed: int) -> Room:
    """All blocks that stand about a way from crossing to crossing, and the ground between them."""
    town = _Town(seed)
    return Room(tuple(quad for block in sorted(_blocks_along(crossings)) for quad in town.block(*block)))


def _blocks_along(crossings: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Columns and rows of the blocks about all crossings on a way; block (0, 0) is right above crossing (0, 0)."""
    blocks: set[tuple[int, int]] = set()
    for (column, row), (next_column, next_row) in pairwise(crossings):
        for x in range(min(column, next_column), max(column, next_column) + 1):
            for y in range(min(row, next_row), max(row, next_row) + 1):
                blocks |= {(x + across, y + along) for across in (-1, 0) for along in (-1, 0)}
    return blocks


@dataclass(frozen=True)
class _Town:
    """Makes quads whose size and texture depend only on the seed and their name."""

    seed: int

    def block(self, column: int, row: int) -> Iterator[Quad]:
        """Houses, cars and posts of a block, and the ground under it and half of the streets about it."""
        middle = _PITCH_M * np.array([column + 0.5, row + 0.5, 0.0])
        name = f"block {column} {row}"
        yield from self._ground(name, middle)
        for side in range(4):
            turn = rotation_matrix(0.5 * np.pi * side * _Z)
            yield from self._houses(f"{name} side {side}", middle, turn)
            yield from self._kerb(f"{name} side {side}", middle, turn)

    def _rng(self, name: str) -> Rng:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def _ground(self, name: str, middle: Array) -> Iterator[Quad]:
        tiles = 4
        size = _PITCH_M / tiles
        for tile in range(tiles * tiles):
            across, along = divmod(tile, tiles)
            centre = middle + size * (np.array([across, along, 0.0]) - 0.5 * (tiles - 1) * (_X + _Y))
            texture = _asphalt(self._rng(f"{name} ground {tile}"), size, size, _GROUND_DENSITY)
            yield make_quad(f"{name} ground {tile}", centre, _Z, _Y, (size, size), texture)

    def _houses(self, name: str, middle: Array, turn: Array) -> Iterator[Quad]:
        """A row of houses that look along -y of the turned axes, each with its own width, height and setback."""
        rng, begin, number = self._rng(name), -0.5 * BLOCK_M, 0
        while begin < 0.5 * BLOCK_M - 4.0:
            width = min(float(rng.uniform(7.0, 14.0)), 0.5 * BLOCK_M - begin)
            height, setback = rng.uniform(6.0, 13.0), rng.uniform(0.0, 2.0)
            front = np.array([begin + 0.5 * width, -0.5 * BLOCK_M + setback, 0.5 * height])
            depth = 6.0
            faces = (
                ("front", front, -_Y, width),
                ("left", front + 0.5 * (depth * _Y - width * _X), -_X, depth),
                ("right", front + 0.5 * (depth * _Y + width * _X), _X, depth),
            )
            for face, centre, normal, extent in faces:
                title = f"{name} house {number} {face}"
                texture = _facade(self._rng(title), extent, height, _FACADE_DENSITY)
                yield make_quad(title, middle + turn @ centre, turn @ normal, _Z, (extent, height), texture)
            begin, number = begin + width, number + 1

    def _kerb(self, name: str, middle: Array, turn: Array) -> Iterator[Quad]:
        """Parked cars and lamp posts between the houses and the middle of the street."""
        rng = self._rng(f"{name} kerb")
        line = -0.5 * BLOCK_M - 2.0
        for number, along in enumerate(np.arange(-0.5 * BLOCK_M + 4.0, 0.5 * BLOCK_M - 4.0, 6.5)):
            if rng.random() < 0.6:
                foot = np.array([along + rng.uniform(-0.5, 0.5), line, 0.0])
                size = (rng.uniform(3.8, 4.6), 1.75, rng.uniform(1.35, 1.7))
                yield from self._box(f"{name} car {number}", middle + turn @ foot, turn, size)
            if number % 3 == 1:
                foot = np.array([along + 3.2, line + 1.2, 0.0])
                yield from self._box(f"{name} post {number}", middle + turn @ foot, turn, (0.18, 0.18, 5.0))

    def _box(self, name: str, foot: Array, turn: Array, size: tuple[float, float, float]) -> Iterator[Quad]:
        width, depth, height = size
        middle = foot + 0.5 * height * _Z
        faces = ((-_Y, width, depth), (_Y, width, depth), (-_X, depth, width), (_X, depth, width))
        for number, (normal, extent, thickness) in enumerate(faces):
            texture = _paintwork(self._rng(f"{name} {number}"), extent, height, _PAINT_DENSITY)
            centre = middle + turn @ (0.5 * thickness * normal)
            yield make_quad(f"{name} {number}", centre, turn @ normal, _Z, (extent, height), texture)


def _asphalt(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Patched grey with stains and painted marks."""
    shape = texels(width_m, height_m, density)
    image = finish(tint((96, 96, 98), (fractal(rng, shape, 2.0 * density, 7, 0.8), (9, 9, 9))))
    add_specks(rng, image, 6.0, density)
    for _ in range(rng.integers(3, 9)):
        corner, size = rng.uniform(0, 1, 2) * shape[::-1], rng.uniform(0.1, 2.5, 2) * density
        shade = rng.choice([60.0, 80.0, 205.0])
        cv2.rectangle(image, corner.astype(int).tolist(), (corner + size).astype(int).tolist(), [shade] * 3, -1)
    return image


def _facade(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Plaster of one colour, rows of windows that show each something else, and a door or a shop."""
    shape = texels(width_m, height_m, density)
    image = finish(tint(rng.uniform(110, 225, 3), (fractal(rng, shape, 1.5 * density, 7, 0.8), (8, 8, 8))))
    add_specks(rng, image, 8.0, density)
    pitch = rng.uniform(1.8, 2.8) * density
    for top in np.arange(0.6 * density, shape[0] - 2.2 * density, 3.0 * density):
        for left in np.arange(0.4 * pitch, shape[1] - 0.8 * pitch, pitch):
            _window(rng, image[int(top) : int(top + 1.6 * density), int(left) : int(left + 0.55 * pitch)], density)
    return image


def _window(rng: Rng, pane: Image, density: float) -> None:
    """A framed pane with curtains or reflections, in place."""
    pane[:] = finish(tint(rng.uniform(20, 120, 3), (fractal(rng, pane.shape[:2], 0.5 * density, 5), (14, 14, 16))))
    frame = rng.uniform(150, 250, 3).tolist()
    cv2.rectangle(pane, (0, 0), (pane.shape[1] - 1, pane.shape[0] - 1), frame, max(1, round(0.07 * density)))
    middle = int(rng.uniform(0.35, 0.65) * pane.shape[1])
    cv2.line(pane, (middle, 0), (middle, pane.shape[0]), frame, max(1, round(0.05 * density)))


def _paintwork(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Painted metal with panes and reflections."""
    shape = texels(width_m, height_m, density)
    image = finish(tint(rng.uniform(30, 220, 3), (fractal(rng, shape, 0.6 * density, 5), (10, 10, 10))))
    if width_m > 1.0:
        _window(rng, image[: shape[0] // 3, shape[1] // 8 : -shape[1] // 8], density)
        for share in (0.22, 0.78):
            centre = (int(share * shape[1]), int(0.85 * shape[0]))
            cv2.circle(image, centre, round(0.3 * density), (30, 30, 32), -1, cv2.LINE_AA)
    return image
