"""Where photos can be localized: the expected recall in cells seen from above, by what a camera there recognises.

The frame is one whose z axis points up. Headings are those of the optical axis, clockwise from the y axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import Array
from visloc_ros.localization.seen_points import SeenPoints, Support, ViewLimits

HEADINGS_DEG = tuple(range(0, 360, 30))
"""Headings at which each cell is judged: the views of a common lens, 60 degrees wide, share a half with the next."""

MOST_CELLS = 5000
_CELLS = 1500  # at most, where the size is not given: a picture shows no more, and each takes some milliseconds
_MOST_LAID_OUT = 300_000  # cells of a rectangle around all, most of which may be empty


_COLOURS = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])  # those of viridis


def recall_colour(recall: float) -> str:
    """The colour of a recall from 0 to 1, dark to light, as CSS writes it."""
    at = np.clip(recall, 0.0, 1.0) * (len(_COLOURS) - 1)
    red, green, blue = (np.interp(at, np.arange(len(_COLOURS)), channel) for channel in _COLOURS.T)
    return f"#{round(red):02x}{round(green):02x}{round(blue):02x}"


@dataclass(frozen=True)
class RecallModel:
    """Probability that a photo is localized, a logistic one of the logarithm of the points and their spread."""

    constant: float
    per_log_points: float
    per_spread: float

    def recall(self, support: Support) -> float:
        """Expected share of photos that are localized; zero where nothing is recognised."""
        if support.points <= 0.0:
            return 0.0
        score = self.constant + self.per_log_points * math.log1p(support.points) + self.per_spread * support.spread
        return 1.0 / (1.0 + math.exp(-min(max(score, -50.0), 50.0)))


@dataclass(frozen=True)
class CoverageCell:
    """The middle of a cell, the mean of its recalls, and these by heading."""

    x: float
    y: float
    recall: float
    by_heading: tuple[float, ...]

    @property
    def worst(self) -> tuple[float, float]:
        """The lowest recall, and its heading in degrees."""
        row = int(np.argmin(self.by_heading))
        return self.by_heading[row], float(HEADINGS_DEG[row])

    @property
    def rose(self) -> Array:
        """Corners (headings, 2) of a polygon around the middle, as far away as the recall at each heading."""
        angles = np.radians(HEADINGS_DEG)
        return np.asarray(np.column_stack([np.sin(angles), np.cos(angles)]) * np.array(self.by_heading)[:, None])

    def __str__(self) -> str:
        lowest, heading = self.worst
        return f"{self.recall:.0%} at any heading, {lowest:.0%} at {heading:.0f}°"


@dataclass(frozen=True, eq=False)
class Coverage:
    """Expected recalls (rows, columns, headings), NaN where nothing is known; row 0 is the lowest in y.

    ``low`` (2,) is the lowest corner of the cells, ``cell`` their side, ``cameras`` (M, 2) where images were taken.
    """

    recalls: Array
    low: Array
    cell: float
    cameras: Array

    @property
    def means(self) -> Array:
        """Recalls (rows, columns) at any heading, NaN where nothing is known."""
        return np.asarray(self.recalls.mean(axis=2))

    @property
    def recall(self) -> float:
        """Expected share of photos that are localized, taken in any cell at any heading."""
        return float(np.nanmean(self.recalls))

    def cells(self) -> Iterator[CoverageCell]:
        """Those of which something is known."""
        for row, column in np.argwhere(np.isfinite(self.means)):
            x, y = (self.low + self.cell * np.array([column + 0.5, row + 0.5])).tolist()
            by_heading = tuple(float(value) for value in self.recalls[row, column])
            yield CoverageCell(x, y, float(np.mean(by_heading)), by_heading)

    def __len__(self) -> int:
        return int(np.isfinite(self.means).sum())

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        cells = [
            {"x": one.x, "y": one.y, "recall": round(one.recall, 4), "by_heading": np.round(one.by_heading, 4).tolist()}
            for one in self.cells()
        ]
        return {
            "recall": round(self.recall, 4),
            "cell": self.cell,
            "headings_deg": list(HEADINGS_DEG),
            "cells": cells,
        }


@dataclass(frozen=True, eq=False)
class Cells:
    """Square cells around ``cameras`` (M, 3), seen from above: the lowest corner (2,), ``heights`` (rows, columns).

    A cell has the height of the nearest camera; where none is near it is NaN.
    """

    cameras: Array
    low: Array
    side: float
    heights: Array

    @staticmethod
    def around(cameras: Array, reach: float, side: float) -> Cells:
        """The cells whose middles are within ``reach`` of a camera (M, 3). Raises ConfigError for too many."""
        if _num_laid_out(cameras, reach, side) <= _MOST_LAID_OUT:
            cells = Cells._lay_out(cameras, reach, side)
            if len(cells) <= MOST_CELLS:
                return cells
        raise ConfigError(f"cells of {side:g} are more than {MOST_CELLS}: choose larger ones")

    @staticmethod
    def for_picture(cameras: Array, reach: float, side: float) -> Cells:
        """The cells of that side, doubled until there are few enough to be seen."""
        while _num_laid_out(cameras, reach, side) > _MOST_LAID_OUT:
            side *= 2.0
        while len(cells := Cells._lay_out(cameras, reach, side)) > _CELLS:
            side *= 2.0
        return cells

    @staticmethod
    def _lay_out(cameras: Array, reach: float, side: float) -> Cells:
        low = side * np.floor((cameras[:, :2].min(axis=0) - reach) / side)
        columns, rows = np.ceil((cameras[:, :2].max(axis=0) + reach - low) / side).astype(int).tolist()
        x, y = (low[axis] + side * (np.arange(count) + 0.5) for axis, count in enumerate((columns, rows)))
        middles = np.stack(np.meshgrid(x, y), axis=2).reshape(-1, 2)
        distances, nearest = cKDTree(cameras[:, :2]).query(middles)
        heights = np.where(distances <= reach, cameras[nearest, 2], np.nan)
        return Cells(cameras, low, side, heights.reshape(rows, columns))

    def __len__(self) -> int:
        return int(np.isfinite(self.heights).sum())

    def rows_and_columns(self, positions: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Those of the cells at positions (N, 2 or more); positions beyond all cells are left out."""
        columns, rows = np.floor((positions[:, :2] - self.low) / self.side).astype(np.intp).T
        inside = (rows >= 0) & (columns >= 0) & (rows < self.heights.shape[0]) & (columns < self.heights.shape[1])
        return rows[inside], columns[inside]

    def middle(self, row: int, column: int) -> Array:
        """The middle (3,) of a cell, at the height of a camera."""
        return np.array([*(self.low + self.side * np.array([column + 0.5, row + 0.5])), self.heights[row, column]])


def _num_laid_out(cameras: Array, reach: float, side: float) -> float:
    return float(np.prod(np.ptp(cameras[:, :2], axis=0) + 2.0 * reach)) / side**2


def measure_coverage(
    seen: SeenPoints, cells: Cells, limits: ViewLimits, model: RecallModel, pitch_deg: float = 0.0
) -> Coverage:
    """The expected recall of a camera in each cell, at all headings and one pitch."""
    rotations = [view_rotation(heading, pitch_deg) for heading in HEADINGS_DEG]
    recalls = np.full((*cells.heights.shape, len(rotations)), np.nan)
    for row, column in np.argwhere(np.isfinite(cells.heights)):
        around = seen.around(cells.middle(row, column), limits.focal_px)
        recalls[row, column] = [model.recall(around.support(rotation, limits)) for rotation in rotations]
    return Coverage(recalls, cells.low, cells.side, cells.cameras[:, :2])


def view_rotation(heading_deg: float, pitch_deg: float = 0.0) -> NDArray[np.float64]:
    """Rotation (3, 3) into the frame of a camera without roll that looks at a heading, upwards by the pitch."""
    heading, pitch = math.radians(heading_deg), math.radians(pitch_deg)
    right = np.array([math.cos(heading), -math.sin(heading), 0.0])
    level = np.array([math.sin(heading), math.cos(heading), 0.0])
    forward = math.cos(pitch) * level + math.sin(pitch) * np.array([0.0, 0.0, 1.0])
    return np.column_stack([right, np.cross(forward, right), forward])
