"""A camera that stops at once, by its poses: the robot may have, or the camera's images stick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS

_LEAST_NS = NANOSECONDS // 11  # between poses that show a motion: ten a second, a little early
_LEAST_SIGMAS = 3.0  # of a pose, by which it is not where it would be: a smaller error does no harm until the next one
_SLOWER, _STOPPED = 0.8, 0.6
"""Of the motion before, at most: where frames are skipped, half or two thirds of a motion may lie before the stop."""
_FARTHEST = chi_square_quantile(0.999, 6)  # squared distance in standard deviations, below which chance explains it

StampedPose = tuple[int, SE3]


def spaced(stamps_ns: Iterable[int]) -> tuple[int, ...]:
    """Of the stamps of poses, newest first, the newest three that are far enough apart to show motions."""
    found = list[int]()
    for stamp_ns in stamps_ns:
        if not found or found[-1] - stamp_ns >= _LEAST_NS:
            found.append(stamp_ns)
        if len(found) == 3:
            break
    return tuple(found)


@dataclass(frozen=True, eq=False)
class SuddenStop:
    """Where and when a camera stopped or braked, and its ``velocity`` (6,) before, as ``pose_difference`` has it.

    ``moved_share`` is how far it has moved since, as a share of how far it would have.
    """

    stopped: StampedPose
    newest: SE3
    velocity: Array
    moved_share: float

    @staticmethod
    def of(poses: Sequence[StampedPose], covariance: Array) -> SuddenStop | None:
        """That of three spaced poses, newest first, None if they show none beyond their covariance (6, 6)."""
        if len(poses) < 3:
            return None
        newest, then, before = poses
        velocity = pose_difference(then[1], before[1]) * NANOSECONDS / (then[0] - before[0])
        moved, gone_on = pose_difference(newest[1], then[1]), velocity * (newest[0] - then[0]) / NANOSECONDS
        if _squared(gone_on - moved, covariance) <= _LEAST_SIGMAS**2:
            return None
        share = float(np.sqrt(_squared(moved, covariance) / max(_squared(gone_on, covariance), 1e-12)))
        return SuddenStop(then, newest[1], velocity, share) if share < _SLOWER else None

    @property
    def is_stop(self) -> bool:
        """Whether it has stopped, and not only braked."""
        return self.moved_share < _STOPPED

    def seconds(self, stamp_ns: int) -> float:
        """Time since the stop."""
        return (stamp_ns - self.stopped[0]) / NANOSECONDS

    def ends(self, pose: SE3, covariance: Array) -> bool:
        """Whether the camera certainly moves again, at a newer pose with a covariance (6, 6)."""
        return _squared(pose_difference(pose, self.newest), covariance) > _FARTHEST

    def is_confirmed_by(self, seen: StampedPose, covariance: Array) -> bool:
        """Whether a pose by another camera's image, with a covariance (6, 6), shows that the motion has not gone on."""
        moved = pose_difference(seen[1], self.stopped[1])
        gone_on = self.velocity * self.seconds(seen[0])
        return seen[0] > self.stopped[0] and _squared(moved - gone_on, covariance) > _FARTHEST


def _squared(step: Array, covariance: Array) -> float:
    """Squared length of a step (6,) in standard deviations."""
    return float(step @ np.linalg.solve(covariance, step))
