"""Stamped poses, and how the TUM text format is written (``t tx ty tz qx qy qz qw``, seconds, parent_from_camera)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array

NANOSECONDS = 1_000_000_000
TUM_HEADER = "# timestamp[s] tx ty tz qx qy qz qw  (parent_from_camera)\n"
LATEST_NS = 1 << 62  # differences of stamps fit into 64 bits, too


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses ``parent_from_camera`` with stamps (N,) in nanoseconds, strictly increasing.

    ``is_numbered`` says that the stamps only number frames, one a second: they meet no times.
    """

    stamps_ns: NDArray[np.int64]
    poses: tuple[SE3, ...]
    is_numbered: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamps_ns", np.asarray(self.stamps_ns, dtype=np.int64))
        object.__setattr__(self, "poses", tuple(self.poses))
        if len(self.stamps_ns) != len(self.poses):
            raise ValueError(f"{len(self.stamps_ns)} stamps for {len(self.poses)} poses")
        if np.any(np.diff(self.stamps_ns) <= 0):
            raise ValueError("stamps must be strictly increasing")

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def positions(self) -> Array:
        """Camera centres (N, 3) in the parent frame."""
        return np.array([pose.translation for pose in self.poses]).reshape(-1, 3)

    def nearest(self, stamp_ns: int, tolerance_ns: int) -> SE3 | None:
        """Pose closest in time, or None when none lies within the tolerance."""
        if len(self) == 0:
            return None
        right = int(np.searchsorted(self.stamps_ns, stamp_ns))
        candidates = [i for i in (right - 1, right) if 0 <= i < len(self)]
        best = min(candidates, key=lambda i: abs(int(self.stamps_ns[i]) - stamp_ns))
        return self.poses[best] if abs(int(self.stamps_ns[best]) - stamp_ns) <= tolerance_ns else None

    def interpolate(self, stamp_ns: int) -> SE3 | None:
        """Pose at a stamp between two given ones, or None outside the covered time."""
        if len(self) == 0 or not self.stamps_ns[0] <= stamp_ns <= self.stamps_ns[-1]:
            return None
        right = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if self.stamps_ns[right] == stamp_ns:
            return self.poses[right]
        begin, end = int(self.stamps_ns[right - 1]), int(self.stamps_ns[right])
        return self.poses[right - 1].interpolate(self.poses[right], (stamp_ns - begin) / (end - begin))


def seconds_to_ns(text: str) -> int:
    """Parse a decimal number of seconds to integer nanoseconds without losing digits.

    Raises ValueError for what is no number, or no time within 146 years of 1970.
    """
    whole, _, fraction = text.partition(".")
    if not abs(float(text)) * NANOSECONDS <= LATEST_NS:
        raise ValueError(f"{text[:40]} s is no time within 146 years of 1970")
    if "e" in text.lower():
        return round(float(text) * NANOSECONDS)
    sign = -1 if whole.startswith("-") else 1
    return int(whole or 0) * NANOSECONDS + sign * int((fraction + "0" * 9)[:9])


def write_tum(path: Path, stamps_ns: Sequence[int] | NDArray[np.int64], poses: Sequence[SE3]) -> None:
    """Write poses ``parent_from_camera`` with their stamps as TUM lines, nanoseconds kept."""
    with path.open("w", encoding="utf-8") as file:
        file.write(TUM_HEADER)
        file.writelines(tum_line(stamp, pose) for stamp, pose in zip(stamps_ns, poses, strict=True))


def tum_line(stamp_ns: int, pose: SE3) -> str:
    """The line of a pose in a TUM file."""
    w, x, y, z = pose.quaternion
    seconds, nanoseconds = divmod(int(stamp_ns), NANOSECONDS)
    position = " ".join(f"{value:.9f}" for value in pose.translation)
    return f"{seconds}.{nanoseconds:09d} {position} {x:.9f} {y:.9f} {z:.9f} {w:.9f}\n"
