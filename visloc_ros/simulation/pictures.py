"""Drawn surfaces: pictures, printed pages, book spines, patterned paper and rugs. Same contract as ``textures``."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.types import Image
from visloc_ros.simulation.textures import (
    Colour,
    Material,
    Plane,
    Rng,
    add_specks,
    finish,
    fractal,
    noise,
    texels,
    tint,
)

_PALETTES = np.array(
    [
        [(244, 236, 219), (214, 69, 65), (38, 70, 83), (233, 196, 106), (42, 157, 143)],
        [(239, 230, 221), (29, 53, 87), (230, 57, 70), (69, 123, 157), (168, 218, 220)],
        [(250, 243, 221), (200, 85, 61), (88, 139, 139), (45, 48, 71), (242, 143, 59)],
        [(236, 228, 230), (94, 84, 142), (190, 149, 196), (35, 25, 66), (224, 177, 203)],
        [(241, 239, 220), (96, 108, 56), (40, 54, 24), (221, 161, 94), (188, 108, 37)],
    ],
    dtype=np.float64,
)


def picture(paint: Material, frame: Colour) -> Material:
    """Put a painting behind a white mount and into a wooden frame."""

    def framed(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
        rows, columns = texels(width_m, height_m, density)
        border, mount = round(0.03 * density), round(0.055 * density)
        wood = fractal(rng, (rows, columns), 14, 4)
        image = finish(tint(frame, (wood, (9, 8, 7))))
        image[border:-border, border:-border] = finish(tint((232, 228, 220), (wood, (3, 3, 3))))[
            border:-border, border:-border
        ]
        inner = image[mount:-mount, mount:-mount]
        inner[:] = paint(rng, inner.shape[1] / density, inner.shape[0] / density, density)[
            : inner.shape[0], : inner.shape[1]
        ]
        cv2.rectangle(image, (border, border), (columns - border, rows - border), (70, 62, 54), 2, cv2.LINE_AA)
        return image

    return framed


def shapes(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Abstract composition of overlapping discs, polygons, rings and lines."""
    shape = texels(width_m, height_m, density)
    palette = _palette(rng)
    image = finish(tint(palette[0], (fractal(rng, shape, 0.3 * density, 6), (6, 6, 6))))
    for size in np.geomspace(0.35, 0.02, 70):
        _draw_shape(rng, image, palette[rng.integers(1, 5)], size * min(shape))
    return _brushed(rng, image, 5.0)


def landscape(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Layers of hills under a sun, with trees on every ridge."""
    shape = texels(width_m, height_m, density)
    palette = _palette(rng)
    fade = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None, None]
    image = finish((1 - fade) * _mixed(palette[2], 235, 0.45) + fade * palette[0] + np.zeros((*shape, 1), np.float32))
    sun = (int(rng.uniform(0.2, 0.8) * shape[1]), int(rng.uniform(0.15, 0.35) * shape[0]))
    cv2.circle(image, sun, round(0.09 * min(shape)), palette[1].tolist(), -1, cv2.LINE_AA)
    for layer in range(6):
        ridge = _ridge(rng, shape, 0.38 + 0.1 * layer)
        colour = _mixed(palette[1 + layer % 4], 40 + 30 * (5 - layer), 0.45)
        _draw_hill(image, ridge, colour)
        _draw_trees(rng, image, ridge, 0.6 * colour, 0.02 + 0.012 * layer)
    return _brushed(rng, image, 7.0)


def mosaic(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Stained glass: cells of many sizes about random seeds, with dark joints."""
    shape = texels(width_m, height_m, density)
    count = max(12, int(1100 * width_m * height_m))
    division = cv2.Subdiv2D((0, 0, shape[1], shape[0]))
    for point in rng.uniform(0, 1, (count, 2)) * (shape[1] - 1, shape[0] - 1):
        division.insert(tuple(point.tolist()))
    image = np.zeros((*shape, 3), dtype=np.uint8)
    palette = _palette(rng)
    for cell in division.getVoronoiFacetList([])[0]:
        colour = palette[rng.integers(5)] + rng.normal(0, 22)
        outline = np.asarray(cell).astype(np.int32)
        cv2.fillConvexPoly(image, outline, np.clip(colour, 0, 255).tolist(), cv2.LINE_AA)
        cv2.polylines(image, [outline], True, (32, 30, 34), max(1, round(0.004 * density)), cv2.LINE_AA)
    return _brushed(rng, image, 8.0)


def page(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Printed sheet: a headline, a drawing, and columns of made-up writing."""
    shape = texels(width_m, height_m, density)
    palette = _palette(rng)
    image = finish(tint((240, 236, 226), (fractal(rng, shape, 40, 5), (3, 3, 4))))
    cut = int(rng.uniform(0.35, 0.5) * shape[0])
    margin = max(4, round(0.06 * shape[1]))
    image[margin:cut, margin:-margin] = finish(
        tint(palette[3], (noise(rng, (cut - margin, shape[1] - 2 * margin), 9), (12, 12, 12)))
    )
    for size in np.geomspace(0.4, 0.05, 24):
        _draw_shape(rng, image[margin:cut, margin:-margin], palette[rng.integers(0, 5)], size * (cut - margin))
    line = max(7, round(0.022 * density))
    write_lines(rng, image[cut + line : cut + 4 * line, margin:-margin], 2.4 * line, palette[1])
    write_lines(rng, image[cut + 5 * line : -margin, margin:-margin], line, (40, 40, 48))
    return image


def write_lines(rng: Rng, image: Image, line: float, colour: ArrayLike) -> None:
    """Fill an image with rows of invented glyphs ``line`` texels apart, in place."""
    height, width = image.shape[:2]
    glyph = 0.55 * line
    ink = np.asarray(colour, dtype=float).tolist()
    for y in np.arange(0.5 * line, height - 0.5 * line, line):
        for x in np.arange(glyph, rng.uniform(0.75, 1.0) * width - glyph, 0.8 * glyph):
            if rng.random() > 0.16:
                strokes = np.array([x, y]) + rng.uniform(-0.5, 0.5, (rng.integers(3, 6), 2)) * (
                    0.6 * glyph,
                    0.62 * line,
                )
                cv2.polylines(image, [strokes.astype(np.int32)], bool(rng.random() < 0.4), ink,
                              max(1, round(0.09 * line)), cv2.LINE_AA)  # fmt: skip


def books(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """A row of book spines of all widths and heights, with titles, before a dark back."""
    shape = texels(width_m, height_m, density)
    image = finish(tint((38, 31, 27), (fractal(rng, shape, 20, 4), (5, 5, 5))))
    x = 0.004
    while x < width_m - 0.02:
        width = min(rng.uniform(0.014, 0.055), width_m - x)
        top = rng.uniform(0.02, 0.3) * height_m
        spine = image[round(top * density) :, round(x * density) : round((x + width) * density)]
        _paint_spine(rng, spine)
        x += width + (rng.uniform(0.03, 0.09) if rng.random() < 0.07 else 0.0015)
    return image


def _paint_spine(rng: Rng, spine: Image) -> None:
    height, width = spine.shape[:2]
    palette = _palette(rng)
    colour = np.clip(palette[rng.integers(5)] * rng.uniform(0.55, 1.0), 0, 255)
    roundness = 1.0 - 0.45 * np.abs(np.linspace(-1, 1, width)) ** 2.5
    spine[:] = finish(tint(colour, (noise(rng, (height, width), 4), (6, 6, 6))) * roundness[None, :, None])
    ink = palette[0 if colour.mean() < 130 else 3]
    for y in rng.uniform(0.03, 0.95, rng.integers(1, 4)):
        cv2.line(spine, (0, int(y * height)), (width, int(y * height)), ink.tolist(), max(1, height // 90))
    title = np.ascontiguousarray(np.rot90(spine[height // 6 : height * 3 // 4], 1))
    write_lines(rng, title, max(5.0, 0.5 * width), ink)
    spine[height // 6 : height * 3 // 4] = np.rot90(title, -1)


def wallpaper(colour: Colour) -> Material:
    """Paper with leaves and berries strewn over it, no two alike."""

    def paint(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
        shape = texels(width_m, height_m, density)
        grain = fractal(rng, shape, 12, 4)
        image = finish(tint(colour, (grain, (6, 6, 6)), (fractal(rng, shape, 0.6 * density, 3), (4, 4, 4))))
        palette = _palette(rng)
        for _ in range(int(75 * width_m * height_m)):
            centre, length = rng.uniform(0, 1, 2) * (shape[1], shape[0]), density * rng.uniform(0.03, 0.1)
            tone = _mixed(palette[rng.integers(1, 5)], colour, rng.uniform(0.1, 0.5))
            _draw_sprig(rng, image, centre, length, tone)
        add_specks(rng, image, 120, density)
        return image

    return paint


def rug(rng: Rng, width_m: float, height_m: float, density: float) -> Image:
    """Woven carpet: irregular medallions inside borders."""
    shape = texels(width_m, height_m, density)
    palette = _palette(rng) * 0.85
    image = np.zeros((*shape, 3), dtype=np.uint8)
    for ring in range(5):
        inset = round(ring * 0.075 * density)
        image[inset : shape[0] - inset, inset : shape[1] - inset] = palette[(1, 0, 2, 3, 1)[ring]]
    for size in np.geomspace(0.2, 0.025, 260):
        _draw_shape(rng, image, palette[rng.integers(5)], size * 0.8 * density)
    threads = noise(rng, shape, (1.5, 6.0)) + noise(rng, shape, (6.0, 1.5))
    return finish(tint(image, (threads, (9, 9, 9)), (fractal(rng, shape, 0.2 * density, 5), (5, 5, 5))))


def _palette(rng: Rng) -> NDArray[np.float64]:
    return np.asarray(_PALETTES[rng.integers(len(_PALETTES))])


def _mixed(colour: ArrayLike, other: ArrayLike, share: float) -> NDArray[np.float64]:
    return np.asarray((1 - share) * np.asarray(colour, dtype=float) + share * np.asarray(other, dtype=float))


def _brushed(rng: Rng, image: Image, strength: float) -> Image:
    """Break flat colours by brush marks and canvas."""
    shape = image.shape[0], image.shape[1]
    marks = noise(rng, shape, (3, 18)) + noise(rng, shape, (14, 4)) + 0.8 * noise(rng, shape, 1.5)
    return finish(tint(image, (marks, (strength, strength, strength))))


def _draw_shape(rng: Rng, image: Image, colour: NDArray[np.float64], size: float) -> None:
    centre = rng.uniform(0, 1, 2) * (image.shape[1], image.shape[0])
    ink = np.clip(colour + rng.normal(0, 12), 0, 255).tolist()
    middle, radius = centre.astype(int).tolist(), max(1, int(0.5 * size))
    kind, thickness = rng.integers(4), max(1, int(size / 14))
    if kind == 0:
        cv2.circle(image, middle, radius, ink, -1, cv2.LINE_AA)
    elif kind == 1:
        cv2.circle(image, middle, radius, ink, thickness, cv2.LINE_AA)
    elif kind == 2:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        corners = centre + 0.6 * size * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(image, [corners.astype(np.int32)], ink, cv2.LINE_AA)
    else:
        start, end = (centre + rng.uniform(-1, 1, (2, 2)) * size).astype(int).tolist()
        cv2.line(image, start, end, ink, thickness, cv2.LINE_AA)


def _ridge(rng: Rng, shape: tuple[int, int], level: float) -> Plane:
    heights = fractal(rng, (8, shape[1]), 0.4 * shape[1], 7, 0.5)[0]
    return np.asarray((level + 0.05 * heights) * shape[0], dtype=np.float32)


def _draw_hill(image: Image, ridge: Plane, colour: NDArray[np.float64]) -> None:
    outline = np.stack([np.arange(len(ridge)), ridge], axis=1)
    corners = [(len(ridge), image.shape[0]), (0, image.shape[0])]
    cv2.fillPoly(image, [np.vstack([outline, corners]).astype(np.int32)], colour.tolist(), cv2.LINE_AA)


def _draw_trees(rng: Rng, image: Image, ridge: Plane, colour: NDArray[np.float64], size: float) -> None:
    for column in rng.integers(0, len(ridge), 24):
        height = size * image.shape[0] * rng.uniform(0.5, 1.5)
        foot = np.array([column, ridge[column] + 0.3 * height])
        crown = foot + np.array([(-0.3, 0), (0.3, 0), (0, -1)]) * height
        cv2.fillPoly(image, [crown.astype(np.int32)], np.clip(colour + rng.normal(0, 9), 0, 255).tolist(), cv2.LINE_AA)


def _draw_sprig(
    rng: Rng, image: Image, centre: NDArray[np.float64], length: float, colour: NDArray[np.float64]
) -> None:
    turn = rng.uniform(0, 360)
    ink = np.clip(colour, 0, 255).tolist()
    for bend in rng.uniform(-70, 70, rng.integers(2, 5)):
        angle = np.radians(turn + bend)
        leaf = centre + 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        axes = np.maximum(1, length * np.array([0.5, rng.uniform(0.1, 0.2)])).astype(int).tolist()
        cv2.ellipse(image, leaf.astype(int).tolist(), axes, turn + bend, 0, 360, ink, -1, cv2.LINE_AA)
    berry = np.clip(colour * 0.7, 0, 255).tolist()
    cv2.circle(image, centre.astype(int).tolist(), max(1, int(0.14 * length)), berry, -1, cv2.LINE_AA)
