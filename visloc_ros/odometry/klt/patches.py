"""Image patches of earlier views, warped to how they look now, and aligned with the present image.

All patches lie side by side on one canvas of the image's size, so that warping, alignment and comparison are one
call each.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import Image
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.tracking import Mask, Pixels, lucas_kanade

_MIN_CORRELATION = 0.8
_UPRIGHT = np.eye(2)[None]
_MOST_ROWS = 32_000  # that remap takes


@dataclass(frozen=True)
class PatchSheet:
    """Square cells of ``cell`` pixels, enough for ``levels`` of a pyramid, laid out on a canvas (height, width)."""

    height: int
    width: int
    cell: int
    levels: int

    @staticmethod
    def of(image: Image, config: KltConfig, levels: int) -> PatchSheet:
        """The layout for images of this size; every level lets patches be found twice as far away."""
        return PatchSheet(image.shape[0], image.shape[1], (config.window_px + 3) << levels, levels)

    @property
    def capacity(self) -> int:
        """Number of cells."""
        return (self.height // self.cell) * (self.width // self.cell)

    def centres(self, number: int) -> Pixels:
        """Centres (N, 2), whole pixels, of the first cells."""
        row, column = np.divmod(np.arange(number), self.width // self.cell)
        return (np.column_stack([column, row]) * self.cell + self.cell // 2).astype(np.float32)

    def cut(self, image: Image, centres: Pixels, shapes: Array, size: int) -> NDArray[np.float32]:
        """Sample patches (N, size, size) about centres (N, 2); ``shapes`` (N, 2, 2) maps patch to image offsets."""
        across = np.arange(size, dtype=np.float32) - np.float32(size // 2)
        down = across[:, None]
        a = shapes.astype(np.float32)[:, :, :, None, None]
        x = (a[:, 0, 0] * across + a[:, 0, 1] * down + centres[:, 0, None, None]).reshape(-1, size)
        y = (a[:, 1, 0] * across + a[:, 1, 1] * down + centres[:, 1, None, None]).reshape(-1, size)
        patches = np.empty(x.shape, dtype=np.uint8)
        for start in range(0, len(x), _MOST_ROWS):  # a patch is some rows of one tall column
            part = slice(start, start + _MOST_ROWS)
            patches[part] = cv2.remap(image, x[part], y[part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return patches.reshape(-1, size, size).astype(np.float32)

    def paste(self, patches: NDArray[np.float32]) -> Image:
        """Put patches (N, cell, cell) into the first cells of an empty canvas."""
        rows, columns = self.height // self.cell, self.width // self.cell
        cells = np.zeros((rows * columns, self.cell, self.cell), dtype=np.uint8)
        cells[: len(patches)] = np.clip(patches + np.float32(0.5), 0, 255)
        canvas = np.zeros((self.height, self.width), dtype=np.uint8)
        tiles = cells.reshape(rows, columns, self.cell, self.cell).swapaxes(1, 2)
        canvas[: rows * self.cell, : columns * self.cell] = tiles.reshape(rows * self.cell, columns * self.cell)
        return canvas


def align(
    sheet: PatchSheet, patches: NDArray[np.float32], image: Image, guess: Pixels, config: KltConfig
) -> tuple[Pixels, Mask]:
    """Find patches (N, cell, cell) in an image near ``guess`` (N, 2): their pixels, and which of them match."""
    size = config.window_px
    core = _core(patches, size)
    expected = sheet.cut(image, guess, _UPRIGHT, size)
    found, status = lucas_kanade(
        sheet.paste(_exposed(patches, core, expected)), image, sheet.centres(len(patches)), guess, sheet.levels, config
    )
    seen = sheet.cut(image, found, _UPRIGHT, size)
    return found, status & (_correlation(core, seen) > _MIN_CORRELATION)


def _exposed(
    patches: NDArray[np.float32], core: NDArray[np.float32], examples: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Patches with the exposure of the examples, judged by the middle: it may have changed since."""
    gain = np.clip(examples.std(axis=(1, 2)) / np.maximum(core.std(axis=(1, 2)), 1.0), 0.25, 4.0)
    offset = examples.mean(axis=(1, 2)) - gain * core.mean(axis=(1, 2))
    return np.asarray(patches * gain[:, None, None] + offset[:, None, None])


def _core(patches: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The middle (N, size, size) of patches, about the same centre."""
    start = patches.shape[1] // 2 - size // 2
    return patches[:, start : start + size, start : start + size]


def _correlation(left: NDArray[np.float32], right: NDArray[np.float32]) -> Array:
    left, right = left.reshape(len(left), -1), right.reshape(len(right), -1)
    left = left - left.mean(axis=1, keepdims=True)
    right = right - right.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.asarray((left * right).sum(axis=1) / np.maximum(norms, 1e-6), dtype=np.float64)
