"""The pairs of poses for a relative error: some frames, metres, degrees or seconds apart.

They are chosen as evo chooses them (https://github.com/MichaelGrupp/evo), so that figures can be compared: one after
the other, each beginning where the last one ended, or from every pose on. Seconds are those of the TUM RGB-D benchmark
(Sturm et al., IROS 2012), which evo does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS

UNITS = {"f": "frames", "m": "m", "d": "deg", "r": "rad", "s": "s"}
TOLERANCE = 0.1  # of the wanted distance or angle: how far off the pairs of ``all_pairs`` may be, as in evo

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class PairSelection:
    """Which poses are compared: those ``delta`` apart in a unit of ``UNITS``; by default consecutive frames, as in evo.

    One pair after the other, or, with ``all_pairs``, one from every pose on. Raises ConfigError.
    """

    delta: float = 1.0
    unit: str = "f"
    all_pairs: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ConfigError(f"unknown unit '{self.unit}' of a relative error; choose one of {', '.join(UNITS)}")
        if not 0.0 < self.delta < np.inf or (self.unit == "f" and self.delta != round(self.delta)):
            raise ConfigError(f"a relative error over {self}: give a positive number, a whole one of frames")

    def __str__(self) -> str:
        return "1 frame" if (self.delta, self.unit) == (1.0, "f") else f"{self.delta:g} {UNITS[self.unit]}"


ONE_FRAME = PairSelection()


def choose_pairs(selection: PairSelection, stamps_ns: NDArray[np.int64], poses: Sequence[SE3]) -> tuple[Rows, Rows]:
    """Rows (M,) where motions begin and where they end, of N poses with their stamps (N,)."""
    rows = np.array(list(_pairs(selection, stamps_ns, poses)), dtype=np.intp).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


def _pairs(selection: PairSelection, stamps_ns: NDArray[np.int64], poses: Sequence[SE3]) -> Iterable[tuple[int, int]]:
    delta, all_pairs = selection.delta, selection.all_pairs
    if len(poses) < 2:
        return ()
    if selection.unit == "f":
        return _by_frames(len(poses), round(delta), all_pairs)
    if selection.unit == "s":
        seconds = (stamps_ns - stamps_ns[0]) / NANOSECONDS
        return _nearest_in_time(seconds, delta) if all_pairs else _one_after_another(np.diff(seconds), delta)
    if selection.unit == "m":
        steps = np.linalg.norm(np.diff([pose.translation for pose in poses], axis=0), axis=1)
        return _nearest_along(steps, delta) if all_pairs else _one_after_another(steps, delta)
    angle = np.radians(delta) if selection.unit == "d" else delta
    turns = Rotation.from_matrix([pose.rotation for pose in poses])
    between = np.asarray((turns[:-1].inv() * turns[1:]).magnitude())
    return _turned_by(turns, angle) if all_pairs else _one_after_another(between, angle)


def _by_frames(count: int, delta: int, all_pairs: bool) -> Iterator[tuple[int, int]]:
    return ((row, row + delta) for row in range(0, count - delta, 1 if all_pairs else delta))


def _one_after_another(steps: Array, delta: float) -> Iterator[tuple[int, int]]:
    """Each pair ends where the steps (N - 1,) since its begin add up to ``delta``; the next one begins there."""
    begin, since_begin = 0, 0.0
    for row, step in enumerate(steps.tolist(), 1):
        since_begin += step
        if since_begin >= delta:
            yield begin, row
            begin, since_begin = row, 0.0


def _nearest_in_time(seconds: Array, delta: float) -> Iterator[tuple[int, int]]:
    """From every row to the one nearest to ``delta`` later, but not to the last, which may be too early."""
    wanted = seconds + delta
    after = np.clip(np.searchsorted(seconds, wanted), 1, len(seconds) - 1)
    ends = np.where(wanted - seconds[after - 1] <= seconds[after] - wanted, after - 1, after)
    return ((row, end) for row, end in enumerate(ends.tolist()) if row < end < len(seconds) - 1)


def _nearest_along(steps: Array, delta: float) -> Iterator[tuple[int, int]]:
    """From every row to the one nearest to ``delta`` further along the path, where that is near enough."""
    path = np.concatenate([[0.0], np.cumsum(steps)])
    for row in range(len(path) - 1):
        misses = np.abs(path[row + 1 :] - path[row] - delta)
        best = int(np.argmin(misses))
        if misses[best] <= TOLERANCE * delta:
            yield row, row + 1 + best


def _turned_by(turns: Rotation, angle: float) -> Iterator[tuple[int, int]]:
    """All pairs of rows between whose orientations there is nearly this angle."""
    for row in range(len(turns) - 1):
        between = (turns[row].inv() * turns[row + 1 :]).magnitude()
        for later in np.flatnonzero(np.abs(between - angle) <= TOLERANCE * angle).tolist():
            yield row, row + 1 + later
