"""A camera that stops at once, by its poses: the robot may have, or the camera's images stick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS

_LONGEST_NS = NANOSECONDS // 11  # between poses that are to show a motion, if these are as frequent
_EARLY = 0.9  # of the interval between two poses, which varies
_LEAST_SIGMAS = 3.0  # of a pose, by which it is not where it would be: a smaller error does no harm until the next one
_TIMES = (1, 2, 4)  # that interval: what is slow, or not certain, shows later
_SLOWER, _STOPPED = 0.8, 0.5
"""Of the motion before: at most, if it brakes; and what is at least missing of that in the least time, if it stops."""
_FARTHEST = chi_square_quantile(0.999, 6)  # squared distance in standard deviations, below which chance explains it

StampedPose = tuple[int, SE3]


def _spaced(poses: Iterable[StampedPose], least_ns: int) -> tuple[StampedPose, ...]:
    """Of poses, newest first, the newest three that are so far apart."""
    found = list[StampedPose]()
    for pose in poses:
        if not found or found[-1][0] - pose[0] >= least_ns:
            found.append(pose)
        if len(found) == 3:
            break
    return tuple(found)


@dataclass(frozen=True, eq=False)
class SuddenStop:
    """Where and when a camera stopped or braked, and its ``velocity`` (6,) before, as ``pose_difference`` has it.

    ``is_stop`` is whether it has stopped, and not only braked.
    """

    stopped: StampedPose
    newest: StampedPose
    velocity: Array
    is_stop: bool

    @staticmethod
    def of(poses: Sequence[StampedPose], covariance: Array) -> SuddenStop | None:
        """That which poses, newest first, show beyond their covariance (6, 6), None without one."""
        if len(poses) < 3:
            return None
        least_ns = min(round(_EARLY * (poses[0][0] - poses[1][0])), _LONGEST_NS)
        found = [SuddenStop._over(poses, times * least_ns, covariance) for times in _TIMES]
        return next((one for one in found if one is not None and one.is_stop), found[0])

    @staticmethod
    def _over(poses: Sequence[StampedPose], least_ns: int, covariance: Array) -> SuddenStop | None:
        spaced = _spaced(poses, least_ns)
        if len(spaced) < 3:
            return None
        newest, then, before = spaced
        velocity = pose_difference(then[1], before[1]) * NANOSECONDS / (then[0] - before[0])
        moved, gone_on = pose_difference(newest[1], then[1]), velocity * (newest[0] - then[0]) / NANOSECONDS
        if _squared(gone_on - moved, covariance) <= _LEAST_SIGMAS**2:
            return None
        far, near = np.sqrt([_squared(gone_on, covariance), _squared(moved, covariance)])
        # Where frames are skipped, most of a motion may lie before the stop: it need not be longer than the least time.
        most = 1.0 - _STOPPED * min(1.0, least_ns / (newest[0] - then[0]))
        is_stop = bool(near < most * far and far - near > _LEAST_SIGMAS)
        return SuddenStop(then, newest, velocity, is_stop) if is_stop or near < _SLOWER * far else None

    def seconds(self, stamp_ns: int) -> float:
        """Time since the stop."""
        return (stamp_ns - self.stopped[0]) / NANOSECONDS

    def is_confirmed_by(self, seen: StampedPose, covariance: Array) -> bool:
        """Whether a pose by another camera's image, with a covariance (6, 6), shows that the motion has not gone on.

        An image that was taken before the newest one of the camera itself may be from before the stop.
        """
        moved = pose_difference(seen[1], self.stopped[1])
        gone_on = self.velocity * self.seconds(seen[0])
        stayed = pose_difference(self.newest[1], self.stopped[1])
        is_newer = seen[0] > self.newest[0] - _LONGEST_NS
        return is_newer and _squared(moved - gone_on, covariance) - _squared(moved - stayed, covariance) > _FARTHEST


def _squared(step: Array, covariance: Array) -> float:
    """Squared length of a step (6,) in standard deviations."""
    return float(step @ np.linalg.solve(covariance, step))
