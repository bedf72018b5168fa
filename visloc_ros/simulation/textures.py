"""Procedural surfaces: every texel from a numpy Generator, with detail at all scales and no repetition.

A texture is made by ``material(rng, width_m, height_m, density)`` and is a uint8 RGB image (H, W, 3) with
``density`` texels a metre. Colours are RGB triples from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.types import Image

Rng = np.random.Generator
Plane = NDArray[np.float32]
Material = Callable[[Rng, float, float, float], Image]
Colour = tuple[float, float, float]


def texels(width_m: float, height_m: float, density: float) -> tuple[int, int]:
    """Rows and columns of a texture."""
    return max(8, round(height_m * density)), max(8, round(width_m * density))


def noise(rng: Rng, shape: tuple[int, int], cell: ArrayLike) -> Plane:
    """Smooth noise (H, W) of unit strength whose features are about ``cell`` texels (down, across) in size."""
    rows, columns = np.broadcast_to(np.asarray(cell, dtype=np.float64), 2)
    coarse = (int(shape[0] / rows) + 2, int(shape[1] / columns) + 2)
    grid = rng.standard_normal(coarse, dtype=np.float32)
    return np.asarray(cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC))


def fractal(rng: Rng, shape: tuple[int, int], coarsest: float, octaves: int = 6, roughness: float = 0.75) -> Plane:
    """Sum of noises (H, W), each octave half as large and ``roughness`` times as strong."""
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        cell = coarsest / 2**octave
        if cell >= 1.0:
            total += np.float32(roughness**octave) * noise(rng, shape, cell)
    return total


def tint(colour: ArrayLike, *shades: tuple[Plane, ArrayLike]) -> Plane:
    """Colour (3,) or (H, W, 3) plus planes (H, W), each times its own colour change (3,)."""
    base = np.moveaxis(np.asarray(colour, dtype=np.float32), -1, 0)
    changes = np.array([np.broadcast_to(change, 3) for _, change in shades], dtype=np.float32)
    planes = [plane for plane, _ in shades]
    # One channel after the other: numpy is slow where the innermost axis has three elements.
    return np.asarray(cv2.merge([base[c] + _weighted_sum(planes, changes[:, c]) for c in range(3)]))


def _weighted_sum(planes: list[Plane], weights: NDArray[np.float32]) -> Plane:
    total = np.asarray(planes[0] * weights[0])
    for plane, weight in zip(planes[1:], weights[1:], strict=True):
        total += plane * weight
    return total


def finish(image: NDArray[np.floating]) -> Image:
    """Round to uint8."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)))


def plaster(colour: Colour) -> Material:
    """Painted plaster: blotches, grain, specks and a few hairline cracks."""

    def paint(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
        shape = texels(width_m, height_m, density)
        blotches, grain = fractal(rng, shape, 0.5 * density, 4), fractal(rng, shape, 10, 4)
        image = finish(tint(colour, (blotches, (5, 5, 4)), (grain, (6, 6, 6))))
        add_specks(rng, image, 260, density)
        add_cracks(rng, image, 0.7, density)
        return image

    return paint


def add_specks(rng: Rng, image: Image, per_square_metre: float, density: float) -> None:
    """Scatter small dark and light spots over an image, in place."""
    height, width = image.shape[:2]
    for _ in range(int(per_square_metre * height * width / density**2)):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        change = rng.uniform(-70, 45)
        radius = max(1, round(density * rng.uniform(0.001, 0.008)))
        colour = np.clip(image[y, x].astype(float) + change, 0, 255)
        cv2.circle(image, (x, y), radius, colour.tolist(), -1, cv2.LINE_AA)


def add_cracks(rng: Rng, image: Image, per_square_metre: float, density: float) -> None:
    """Draw wandering hairlines over an image, in place."""
    height, width = image.shape[:2]
    for _ in range(rng.poisson(per_square_metre * height * width / density**2)):
        turns = np.cumsum(rng.normal(0, 0.35, 40)) + rng.uniform(0, 2 * np.pi)
        steps = 0.02 * density * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        line = rng.uniform(0, 1, 2) * (width, height) + np.cumsum(steps, axis=0)
        shade = np.array(cv2.sumElems(image)[:3]) / (height * width) * rng.uniform(0.55, 0.8)
        cv2.polylines(image, [line.astype(np.int32)], False, shade.tolist(), 1, cv2.LINE_AA)


def bricks(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Brick wall: every brick its own colour and surface, worn edges, rough mortar."""
    shape = texels(width_m, height_m, density)
    rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    wobble = fractal(rng, shape, 30, 3) * 0.0018
    y = rows / density / 0.085 + wobble * 10
    row = np.floor(y).astype(int)
    shift = rng.uniform(0.35, 0.65, row.max() + 2) * (np.arange(row.max() + 2) % 2) + rng.uniform(0, 0.1, row.max() + 2)
    x = columns / density / 0.26 + shift[row] + wobble * 4
    column = np.floor(x).astype(int)
    edge = np.minimum(np.minimum(y - row, 1 - (y - row)) * 0.085, np.minimum(x - column, 1 - (x - column)) * 0.26)
    is_brick = np.clip((edge - 0.005 - 0.0015 * noise(rng, shape, 6)) * 400, 0, 1).astype(np.float32)[..., None]
    clay = _brick_colours(rng, row.max() + 2, column.max() + 2)[row, column]
    surface = fractal(rng, shape, 24, 5, 0.85)
    brick = tint(clay, (surface, (11, 8, 7)))
    mortar = tint((176, 168, 156), (surface, (9, 9, 9)))
    image = finish(is_brick * brick + (1 - is_brick) * mortar)
    add_specks(rng, image, 120, density)
    return image


def _brick_colours(rng: Rng, rows: int, columns: int) -> Plane:
    tones = np.array([(158, 84, 62), (176, 104, 78), (132, 68, 54), (190, 128, 98), (120, 78, 70)], dtype=np.float32)
    chosen = tones[rng.integers(len(tones), size=(rows, columns))]
    return np.asarray(chosen + rng.normal(0, 9, (rows, columns, 1)).astype(np.float32))


def planks(colour: Colour, plank_m: float = 0.14, contrast: float = 1.0) -> Material:
    """Boards along the texture's width, each with its own tone, grain and length."""

    def paint(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
        shape = texels(width_m, height_m, density)
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        y = rows / density / plank_m
        row = np.floor(y).astype(int)
        x = columns / density / 1.3 + rng.uniform(0, 1, row.max() + 2)[row]
        column = np.floor(x).astype(int)
        tone = rng.normal(0, 17, (row.max() + 2, column.max() + 2))[row, column].astype(np.float32)
        rings = noise(rng, shape, (0.03 * density, 0.5 * density)) + noise(rng, shape, (0.2 * density, 1.5 * density))
        figure = np.sin(7.0 * rings + tone)
        grain = noise(rng, shape, (2.0, 40.0)) + 0.8 * noise(rng, shape, (1.3, 12.0)) + 0.6 * fractal(rng, shape, 5, 3)
        sides = np.minimum(y - row, 1 - (y - row)) * plank_m < 0.0025
        gap = sides | (np.minimum(x - column, 1 - (x - column)) * 1.3 < 0.002)
        strength = contrast * (tone + 9 * figure + 8 * grain) * np.where(gap, 0.3, 1.0) - 62 * gap
        image = finish(tint(colour, (strength.astype(np.float32), (1.0, 0.92, 0.78))))
        add_knots(rng, image, density)
        return image

    return paint


def add_knots(rng: Rng, image: Image, density: float) -> None:
    """Draw dark oval knots into wood, in place."""
    height, width = image.shape[:2]
    for _ in range(rng.poisson(5.0 * height * width / density**2)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = np.maximum(2, density * rng.uniform((0.008, 0.004), (0.022, 0.011))).astype(int)
        tone = image[centre[1], centre[0]].astype(float)
        for scale, shade in ((1.0, 0.78), (0.65, 0.6), (0.35, 0.45)):
            cv2.ellipse(image, centre, np.maximum(1, axes * scale).astype(int).tolist(), rng.uniform(-15, 15), 0, 360,
                        (tone * shade).tolist(), -1, cv2.LINE_AA)  # fmt: skip


def fabric(colour: Colour) -> Material:
    """Woven cloth with threads, folds and lint."""

    def paint(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
        shape = texels(width_m, height_m, density)
        threads = noise(rng, shape, (1.5, 14.0)) + noise(rng, shape, (14.0, 1.5))
        folds, melange = fractal(rng, shape, 0.25 * density, 3), fractal(rng, shape, 12, 4)
        image = finish(tint(colour, (threads, (9, 9, 9)), (folds, (9, 9, 9)), (melange, (10, 9, 8))))
        add_specks(rng, image, 400, density)
        return image

    return paint
