"""Stamps of images in a folder: read from their names, or counted at a rate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from visloc_ros.core.trajectory import NANOSECONDS, Trajectory, seconds_to_ns

# Numbers that differ by less are frame numbers: no camera takes two images within 0.1 ms.
SMALLEST_STEP_NS = 100_000
ROUNDING_NS = 1_000  # trajectories are often written with microseconds only

_EPOCH_NANOSECONDS = re.compile(r"\d{18,19}")
_EPOCH_SECONDS = re.compile(r"\d{10}")
_DECIMAL_SECONDS = re.compile(r"\d+\.\d+")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that orders numbers in names by value: image9 before image10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def stamps_at_rate(numbers: Sequence[int], rate_hz: float) -> list[int]:
    """Stamps in nanoseconds of frames numbered from zero at a constant rate."""
    return [round(number * NANOSECONDS / rate_hz) for number in numbers]


def stamps_from_names(stems: Sequence[str]) -> list[int] | None:
    """Stamps in nanoseconds that file names (without suffix) spell, or None when they are no times.

    Nanoseconds are integers at least 0.1 ms apart, seconds are decimal fractions or ten-digit epoch times.
    """
    if not stems:
        return None
    if all(stem.isdecimal() for stem in stems):
        return _stamps_from_integers(stems)
    if all(_DECIMAL_SECONDS.fullmatch(stem) for stem in stems):
        return [seconds_to_ns(stem) for stem in stems]
    return None


def _stamps_from_integers(stems: Sequence[str]) -> list[int] | None:
    if all(_EPOCH_SECONDS.fullmatch(stem) for stem in stems):
        return [int(stem) * NANOSECONDS for stem in stems]
    numbers = sorted(int(stem) for stem in stems)
    if len(numbers) == 1:
        return numbers if _EPOCH_NANOSECONDS.fullmatch(stems[0]) else None
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    return [int(stem) for stem in stems] if min(steps) >= SMALLEST_STEP_NS else None


def snap_stamps(trajectory: Trajectory, stamps_ns: Sequence[int]) -> Trajectory:
    """Give the pose nearest to an image, where it lies within a microsecond, exactly that image's stamp.

    Text files round stamps; without this the last image could fall just outside the trajectory.
    """
    given, images = trajectory.stamps_ns, np.asarray(stamps_ns, dtype=np.int64)
    right = np.searchsorted(given, images)
    candidates = np.clip([right - 1, right], 0, len(given) - 1)
    distances = np.abs(given[candidates] - images)
    nearest = np.take_along_axis(candidates, distances.argmin(axis=0)[None], axis=0)[0]
    close = distances.min(axis=0) <= ROUNDING_NS
    snapped = given.copy()
    snapped[nearest[close]] = images[close]
    return Trajectory(snapped, trajectory.poses)
