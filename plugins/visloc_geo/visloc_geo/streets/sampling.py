"""Points along streets, a given distance apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import EnuFrame

_SAME_M = 0.05  # ends of lines that meet differ by the rounding of coordinates alone
_SHORTEST = 1.0 / 1.5  # of a line, as share of the spacing


@dataclass(frozen=True)
class SamplingConfig:
    """Metres between points, and the least and most metres by which each is moved aside, at random by ``seed``."""

    spacing_m: float = 30.0
    jitter_m: tuple[float, float] = (0.0, 0.0)
    seed: int = 0


def sample_lines(lines: Sequence[Array], frame: EnuFrame, config: SamplingConfig) -> Array:
    """Latitudes and longitudes (N, 2) of points along lines (M, 2), both ends of each among them.

    A line is cut into as many equal parts as are not shorter than the spacing; much shorter lines get no point. Points
    where lines meet count once.
    """
    points = [_cut(frame.from_geodetic(_with_height(line))[:, :2], config.spacing_m) for line in lines]
    unique = _unique(np.concatenate([np.empty((0, 2)), *points]))
    moved = unique + _jitter(len(unique), config)
    return frame.to_geodetic(np.column_stack([moved, np.zeros(len(moved))]))[:, :2]


def _with_height(line: Array) -> Array:
    return np.column_stack([line, np.zeros(len(line))])


def _cut(line: Array, spacing: float) -> Array:
    """Points along a line (M, 2) in metres."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    if along[-1] < spacing * _SHORTEST:
        return np.empty((0, 2))
    parts = max(1, int(along[-1] / spacing + 1e-9))
    wanted = np.linspace(0.0, along[-1], parts + 1)
    return np.column_stack([np.interp(wanted, along, line[:, axis]) for axis in range(2)])


def _unique(points: Array) -> Array:
    """The points without those that repeat another one, in their order."""
    _, first = np.unique(np.round(points / _SAME_M), axis=0, return_index=True)
    return points[np.sort(first)]


def _jitter(count: int, config: SamplingConfig) -> Array:
    draw = np.random.default_rng(config.seed)
    distances, angles = draw.uniform(*config.jitter_m, count), draw.uniform(0.0, 2 * np.pi, count)
    return np.column_stack([distances * np.sin(angles), distances * np.cos(angles)])
