"""How a rig moved, as odometry says: the motion between any two times of a stretch that it followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, rotation_matrix, rotation_vector

_KEPT = 10_000  # poses: some minutes
_LONGEST_STEP_S = 0.5  # in which a moving rig does not turn back unseen
_NS = 1e-9


class _Step(NamedTuple):
    stamp_ns: int
    stretch: int
    leading: str
    odom_from_rig: SE3


@dataclass(frozen=True, eq=False)
class Moved:
    """``then_from_now``: rotations (N, 3, 3), translations (N, 3), and where it ``is_known``; else the identity."""

    rotations: Array
    translations: Array
    is_known: NDArray[np.bool_]


class RigPath:
    """Poses of the rig in odometry, by the clock of the camera that odometry follows."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque(maxlen=_KEPT)

    def add(self, leading: str, odom_from_rig: Sequence[tuple[int, SE3]]) -> None:
        """Take the newest poses by stamp, those known already among them; without these another stretch begins."""
        if not odom_from_rig:
            return
        newest = self._steps[-1] if self._steps else _Step(-1, -1, leading, odom_from_rig[0][1])
        goes_on = any(stamp_ns == newest.stamp_ns for stamp_ns, _ in odom_from_rig)
        since_ns = newest.stamp_ns if goes_on else odom_from_rig[0][0] - 1
        while self._steps and self._steps[-1].stamp_ns > since_ns:
            self._steps.pop()  # the clock was set back
        stretch = newest.stretch if goes_on and leading == newest.leading else newest.stretch + 1
        self._steps.extend(_Step(ns, stretch, leading, pose) for ns, pose in odom_from_rig if ns > since_ns)

    def sampled(self) -> SampledPath | None:
        """The path so far, to be evaluated; None before two poses are known."""
        return SampledPath(self._steps) if len(self._steps) > 1 else None


class SampledPath:
    """Poses of a path at one moment."""

    def __init__(self, steps: Sequence[_Step]) -> None:
        self._stamps_ns = np.array([step.stamp_ns for step in steps], dtype=np.int64)
        self._stretches = np.array([step.stretch for step in steps])
        self._leading = [step.leading for step in steps]
        self._rotations = np.stack([step.odom_from_rig.rotation for step in steps])
        self._positions = np.stack([step.odom_from_rig.translation for step in steps])
        self._turns = rotation_vector(np.swapaxes(self._rotations[:-1], -1, -2) @ self._rotations[1:])
        self._steps_s = np.diff(self._stamps_ns) * _NS
        self._is_step = (np.diff(self._stretches) == 0) & (self._steps_s < _LONGEST_STEP_S)

    def leads(self, name: str, stamps_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether odometry followed this camera at stamps (N,)."""
        rows = np.clip(np.searchsorted(self._stamps_ns, stamps_ns), 0, len(self._stamps_ns) - 1)
        return np.array([self._leading[row] == name for row in rows], dtype=np.bool_)

    def moved(self, then_ns: NDArray[np.int64], now_ns: NDArray[np.int64]) -> Moved:
        """The motion between stamps (N,) and others."""
        (then_turn, then_at, then_in), (turn, at, is_in) = self._poses(then_ns), self._poses(now_ns)
        inverse = np.swapaxes(then_turn, -1, -2)
        is_known = (then_in == is_in) & (is_in >= 0)
        rotations = np.where(is_known[:, None, None], inverse @ turn, np.eye(3))
        translations = np.where(is_known[:, None], np.einsum("nij,nj->ni", inverse, at - then_at), 0.0)
        return Moved(rotations, translations, is_known)

    def _poses(self, stamps_ns: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.int64]]:
        """Rotations and positions at stamps, and the stretch that they are in, -1 where none."""
        rows = np.clip(np.searchsorted(self._stamps_ns, stamps_ns, side="right") - 1, 0, len(self._steps_s) - 1)
        shares = (stamps_ns - self._stamps_ns[rows]) * _NS / np.maximum(self._steps_s[rows], _NS)
        is_in = (shares >= 0.0) & (shares <= 1.0) & self._is_step[rows]
        shares = np.clip(shares, 0.0, 1.0)[:, None]
        rotations = self._rotations[rows] @ rotation_matrix(shares * self._turns[rows])
        positions = (1.0 - shares) * self._positions[rows] + shares * self._positions[rows + 1]
        return rotations, positions, np.where(is_in, self._stretches[rows], -1)
