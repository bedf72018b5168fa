"""Image patches of earlier views, warped to their present look, and found in the present image from coarse to fine.

On every level of the pyramid all patches lie side by side on one canvas of the image's size, so that warping,
alignment and comparison are one call each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.tracking.lucas_kanade import lucas_kanade
from visloc_ros.tracking.pixels import Mask, Pixels, cross
from visloc_ros.tracking.pyramid import Pyramid

REACH_PX = 4.0  # over which the change of shape is measured
STEPS_PX = np.array([[0.0, 0.0], [REACH_PX, 0.0], [0.0, REACH_PX]], dtype=np.float32)
"""A pixel, and places right of and below it, which show the local change of shape."""

_MIN_CORRELATION = 0.8
_BORDER_PX = 3  # of a cell beside its window: gradients, and bilinear sampling between pixels
_GAINS = (0.25, 4.0)  # changes of exposure that are compensated
_MOST_ROWS = 32_000  # that remap takes

GreyPatches = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Patches:
    """Patches about centres (N, 2) in images, each in the one of index ``owners`` (N,).

    ``shapes`` (N, 2, 2) maps offsets in the searched image to offsets in the patch's own.
    """

    images: Sequence[Pyramid]
    owners: NDArray[np.intp]
    centres: Pixels
    shapes: Array

    def __len__(self) -> int:
        return len(self.centres)

    def cut(self, level: int, size: int) -> GreyPatches:
        """The patches (N, size, size) on a level of the pyramid, as they should look in the searched image."""
        cut = np.empty((len(self), size, size), dtype=np.uint8)
        centres = _on_level(self.centres, level)
        for index, image in enumerate(self.images):
            mine = np.flatnonzero(self.owners == index)
            if len(mine):
                cut[mine] = _cut(image.level(level), centres[mine], self.shapes[mine], size)
        return cut


def change_of_shape(here: Array, right: Array, down: Array) -> tuple[Array, Array]:
    """Jacobian of offsets from a patch's image to another one (N, 2, 2), and the ratio of areas (N,).

    By the new positions of three places (N, 2) that are ``STEPS_PX`` apart in the patch's image.
    """
    changes = np.stack([right - here, down - here], axis=-1) / REACH_PX
    return changes, cross(changes[:, :, 0], changes[:, :, 1])


def inverted(shapes: Array, areas: Array) -> Array:
    """Inverses (N, 2, 2) of changes of shape (N, 2, 2), by their determinants (N,)."""
    inverse = np.empty_like(shapes)
    inverse[:, 0, 0], inverse[:, 1, 1] = shapes[:, 1, 1], shapes[:, 0, 0]
    inverse[:, 0, 1], inverse[:, 1, 0] = -shapes[:, 0, 1], -shapes[:, 1, 0]
    return inverse / areas[:, None, None]


def find_patches(
    patches: Patches, image: Pyramid, guess: Pixels, window_px: int, coarsest: int, finest: int = 0
) -> tuple[Pixels, Mask]:
    """Find patches (N,) in an image near ``guess`` (N, 2): their pixels, and which of them match.

    Every level of the pyramid above the finest doubles the reach.
    """
    found, matched = guess, np.zeros(len(guess), dtype=bool)
    if len(patches) == 0:
        return found, matched
    for level in range(coarsest, finest - 1, -1):
        window = window_px if level == finest else _coarse_window(window_px)
        cut, now = patches.cut(level, window + _BORDER_PX), image.level(level)
        near, status = _align(cut, now, _on_level(found, level), window)
        found = near * np.float32(1 << level)
    seen = _cut(now, near, None, window_px)
    return found, status & (_correlation(_core(cut, window_px), seen) > _MIN_CORRELATION)


def _coarse_window(window_px: int) -> int:
    """Two thirds of the window: on half the size that shows more than the window itself, and it only has to be near."""
    return 2 * (window_px // 3) + 1


def _on_level(pixels: Pixels, level: int) -> Pixels:
    return pixels / np.float32(1 << level)


def _align(patches: GreyPatches, image: Image, guess: Pixels, window_px: int) -> tuple[Pixels, Mask]:
    """Find patches (N, cell, cell), of any exposure, in an image near ``guess`` (N, 2)."""
    canvas, centres = _paste(_exposed(patches, _cut(image, guess, None, window_px)), image)
    below, right = np.subtract(canvas.shape, image.shape).tolist()
    if below or right:
        image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), dtype=np.uint8)
    return lucas_kanade(canvas, image, centres, guess, window_px, 0)


def _cut(image: Image, centres: Pixels, shapes: Array | None, size: int) -> GreyPatches:
    """Sample patches (N, size, size) about centres (N, 2); ``shapes`` (N, 2, 2) maps patch to image offsets."""
    offsets = _offsets(size)
    if shapes is None:
        x, y = (centres[:, axis, None] + offsets[axis] for axis in (0, 1))
    else:
        x, y = (shapes[:, axis].astype(np.float32) @ offsets + centres[:, axis, None] for axis in (0, 1))
    x, y = x.reshape(-1, size), y.reshape(-1, size)
    patches = np.empty(x.shape, dtype=np.uint8)
    for start in range(0, len(x), _MOST_ROWS):  # a patch is some rows of one tall column
        part = slice(start, start + _MOST_ROWS)
        cv2.remap(image, x[part], y[part], cv2.INTER_LINEAR, patches[part], cv2.BORDER_REPLICATE)
    return patches.reshape(-1, size, size)


@lru_cache(maxsize=16)
def _offsets(size: int) -> NDArray[np.float32]:
    """Offsets (2, size * size) of the pixels of a patch from its centre, row by row."""
    across = np.arange(size, dtype=np.float32) - np.float32(size // 2)
    return np.stack([np.tile(across, size), np.repeat(across, size)])


def _paste(patches: GreyPatches, image: Image) -> tuple[Image, Pixels]:
    """A canvas of at least the image's size, with patches (N, cell, cell) about its centres (N, 2)."""
    (number, cell, _), (height, width) = patches.shape, image.shape
    columns = max(1, width // cell)
    row, column = np.divmod(np.arange(number), columns)
    canvas = np.zeros((max(height, cell * int(row[-1] + 1)), max(width, cell)), dtype=np.uint8)
    rows = len(canvas) // cell
    cells = canvas[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell).swapaxes(1, 2)
    cells[row, column] = patches
    return canvas, (np.column_stack([column, row]) * cell + cell // 2).astype(np.float32)


def _exposed(patches: GreyPatches, examples: GreyPatches) -> GreyPatches:
    """Patches (N, cell, cell) with the exposure of examples (N, size, size), judged by the middle."""
    wanted_mean, wanted_deviation = _mean_and_deviation(examples)
    mean, deviation = _mean_and_deviation(_core(patches, examples.shape[1]))
    gains = np.clip(wanted_deviation / np.maximum(deviation, 1.0), *_GAINS)
    exposed = patches * gains[:, None, None]
    exposed += (wanted_mean - gains * mean + np.float32(0.5))[:, None, None]
    return np.clip(exposed, 0.0, 255.0, out=exposed).astype(np.uint8)


def _core(patches: GreyPatches, size: int) -> GreyPatches:
    """The middle (N, size, size) of patches, about the same centre."""
    start = patches.shape[1] // 2 - size // 2
    return patches[:, start : start + size, start : start + size]


def _mean_and_deviation(patches: GreyPatches) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values = patches.reshape(len(patches), -1).astype(np.float32)
    mean = values.mean(axis=1)
    values -= mean[:, None]
    return mean, np.sqrt(np.einsum("ni,ni->n", values, values) / np.float32(values.shape[1]))


def _correlation(left: GreyPatches, right: GreyPatches) -> NDArray[np.float32]:
    """Normalised correlation (N,) of patches (N, size, size)."""
    one, other = (patches.reshape(len(patches), -1).astype(np.float32) for patches in (left, right))
    one -= one.mean(axis=1, keepdims=True)
    other -= other.mean(axis=1, keepdims=True)
    norms = np.einsum("ni,ni->n", one, one) * np.einsum("ni,ni->n", other, other)
    return np.asarray(np.einsum("ni,ni->n", one, other) / np.sqrt(np.maximum(norms, np.float32(1e-6))))
