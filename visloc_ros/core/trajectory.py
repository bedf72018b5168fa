"""Stamped poses and the TUM text format (``t tx ty tz qx qy qz qw``, seconds, parent_from_camera)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import read_text
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import FARTHEST, is_plausible_position

NANOSECONDS = 1_000_000_000
TUM_HEADER = "# timestamp[s] tx ty tz qx qy qz qw  (parent_from_camera)\n"
LATEST_NS = 1 << 62  # differences of stamps fit into 64 bits, too


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses ``parent_from_camera`` with stamps (N,) in nanoseconds, strictly increasing."""

    stamps_ns: NDArray[np.int64]
    poses: tuple[SE3, ...]

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


def read_tum(path: Path) -> Trajectory:
    """Read a TUM file; '#' starts a comment. Raises SourceError naming the bad line."""
    lines = read_text(path, SourceError).splitlines()
    stamped: list[tuple[int, SE3]] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if words:
            stamped.append(_parse_tum_line(path, number, words))
    if not stamped:
        raise SourceError(f"{path} holds no poses; expected lines 't tx ty tz qx qy qz qw'")
    stamped.sort(key=lambda item: item[0])
    try:
        return Trajectory(np.array([stamp for stamp, _ in stamped]), tuple(pose for _, pose in stamped))
    except ValueError as error:
        raise SourceError(f"{path}: two poses have the same stamp") from error


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


def _parse_tum_line(path: Path, number: int, words: list[str]) -> tuple[int, SE3]:
    try:
        values = [float(word) for word in words[1:8]]
        stamp_ns = seconds_to_ns(words[0])
    except ValueError as error:
        raise SourceError(f"{path}:{number}: not a number: {error}") from error
    if len(values) != 7 or not np.all(np.isfinite(values)):
        raise SourceError(f"{path}:{number}: expected 't tx ty tz qx qy qz qw', all finite")
    if not is_plausible_position(np.array(values[:3])):
        raise SourceError(f"{path}:{number}: the position is farther from the origin than {FARTHEST:g}")
    x, y, z, w = values[3:]
    if not abs(np.linalg.norm([x, y, z, w]) - 1.0) <= 1e-2:
        raise SourceError(f"{path}:{number}: the quaternion {values[3:]} is not of unit length")
    return stamp_ns, SE3.from_quaternion([w, x, y, z], values[:3])
