"""Whether the stamps of a camera are late: its place on the rig then seems to change along with the motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_differences, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.localization.rig.observation import SURE, TimedPlace
from visloc_ros.localization.rig.path import Moved, SampledPath
from visloc_ros.localization.rig.robust_fit import robust_fit

LEAST_FRAMES = 6
"""Rig frames, as many as a difference of places has components."""
_AT_ONCE_S = 0.005  # stamps that are no farther apart are of one time
FARTHEST_S = 2.0
"""Offsets of clocks that are tried; more is no delay, but a clock of its own."""
_STEP_S = 0.05  # a handheld camera shakes no faster than some hertz
_USUAL_S = 1.0  # of the clocks of cameras in one recording; it only decides where the motion says nothing
_MOST_IN_SCAN = 64
_ITERATIONS = 2  # from the median on
_MOST_STEPS = 15


@dataclass(frozen=True, eq=False)
class ClockFit:
    """By how many seconds the stamps of a camera are late, and its place as far as these do not explain it.

    ``difference`` (6,) of the place, with its covariance (6, 6), is about the axes of the rig. ``moved`` are
    metres and radians by which the rig usually moves in that time, ``unexplained`` those that both leave.
    """

    late_s: float
    sigma_s: float
    difference: Array
    covariance: Array
    moved: tuple[float, float]
    unexplained: tuple[float, float]

    @property
    def is_sure(self) -> bool:
        """Whether the stamps are not of the same time, and that is no chance."""
        squared = (self.late_s / self.sigma_s) ** 2
        return abs(self.late_s) > _AT_ONCE_S and squared > chi_square_quantile(SURE, 1)


class ClockCheck:
    """Places of a camera as seen from another one, each at its own stamp, against the motion in between."""

    def __init__(self, other: str, given: SE3, seen: Sequence[TimedPlace], path: SampledPath) -> None:
        self._given, self._path = given, path
        self._one_ns, self._other_ns = (
            np.array([getattr(one, which) for one in seen], dtype=np.int64) for which in ("one_ns", "other_ns")
        )
        self._leads = path.leads(other, self._one_ns)
        self._rotations = np.stack([one.rig_from_other.rotation for one in seen])
        self._translations = np.stack([one.rig_from_other.translation for one in seen])
        self._covariances = np.stack([one.covariance for one in seen])

    def fit(self) -> ClockFit | None:
        """How late the camera is; None where the motion is not known around enough of the places."""
        late_s, fit = self._scan(), None
        for _ in range(_MOST_STEPS):
            fit = None if late_s is None else self._fit_from(late_s)
            if fit is None or late_s is None or abs(fit.late_s - late_s) < 0.01 * fit.sigma_s:
                break
            late_s += float(np.clip(fit.late_s - late_s, -_STEP_S, _STEP_S))
        return fit

    def _fit_from(self, late_s: float) -> ClockFit | None:
        """The fit by differences that are linear in the offset around one."""
        every = np.arange(len(self._one_ns))
        (before, _, in_before), (now, covariances, is_known), (after, _, in_after) = (
            self._differences(np.full(len(every), at_s), every)
            for at_s in (late_s - _STEP_S / 2, late_s, late_s + _STEP_S / 2)
        )
        rows = in_before & is_known & in_after
        if int(rows.sum()) < LEAST_FRAMES:
            return None
        by_second, now = (after - before)[rows] / _STEP_S, now[rows]
        designs = np.concatenate([np.broadcast_to(np.eye(6), (len(now), 6, 6)), -by_second[:, :, None]], axis=2)
        prior = np.append(np.zeros(6), -late_s), np.diag([0.0] * 6 + [_USUAL_S**-2])
        start = np.append(np.median(now, axis=0), 0.0)
        estimate, covariance = robust_fit(now, covariances[rows], designs, start, prior)
        late_s += float(estimate[6])
        moved, unexplained = _usual_size(by_second * late_s), _usual_size(now - designs @ estimate)
        sigma_s = float(np.sqrt(covariance[6, 6]))
        return ClockFit(late_s, sigma_s, estimate[:6], covariance[:6, :6], moved, unexplained)

    def _scan(self) -> float | None:
        """The offset that explains the differences best, roughly; 0 where none does better than that."""
        rows = np.unique(np.linspace(0, len(self._one_ns) - 1, _MOST_IN_SCAN).astype(int))
        late_s = np.arange(-FARTHEST_S, FARTHEST_S + _STEP_S / 2, _STEP_S)
        now, of_now, is_known = self._differences(np.zeros(len(rows)), rows)
        shifted, of_shifted, in_shifted = self._differences(np.repeat(late_s, len(rows)), np.tile(rows, len(late_s)))
        shape = (len(late_s), len(rows))
        used = in_shifted.reshape(shape) & is_known
        tried = np.flatnonzero(used.sum(axis=1) >= LEAST_FRAMES)
        if not len(tried):
            return None
        before = _costs(np.broadcast_to(now, (len(tried), *now.shape)), of_now, used[tried])
        after = _costs(shifted.reshape(*shape, 6)[tried], of_shifted.reshape(*shape, 6, 6)[tried], used[tried])
        better = before - after
        return float(late_s[tried[np.argmax(better)]]) if better.max() > 0.0 else 0.0

    def _differences(self, late_s: Array, rows: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Differences (N, 6) of places from the given one if stamps were so late, covariances, which are known."""
        moved = self._moved(np.rint(late_s * NANOSECONDS).astype(np.int64), rows)
        inverse = np.swapaxes(moved.rotations, 1, 2)
        positions = np.einsum("nij,nj->ni", inverse, self._translations[rows] - moved.translations)
        rotations = inverse @ self._rotations[rows]
        differences = pose_differences(positions, rotations, self._given.translation, self._given.rotation)
        return differences, turn_covariance(self._covariances[rows], inverse), moved.is_known

    def _moved(self, late_ns: NDArray[np.int64], rows: NDArray[np.int64]) -> Moved:
        """The motion of the rig from the images of the one camera to those of the other, by the clock of odometry."""
        own = np.where(self._leads[rows], late_ns, 0)
        return self._path.moved(self._one_ns[rows] + own, self._other_ns[rows] + own - late_ns)


def _usual_size(differences: Array) -> tuple[float, float]:
    """Median length in metres and angle in radians of differences (N, 6) of poses."""
    step, turn = np.median(np.linalg.norm(differences.reshape(-1, 2, 3), axis=2), axis=0).tolist()
    return step, turn


def _costs(differences: Array, covariances: Array, used: NDArray[np.bool_]) -> Array:
    """How much the differences (T, N, 6) that are used (T, N) scatter about their robust mean: by the Cauchy loss."""
    information = np.linalg.inv(covariances)
    mean = np.nanmedian(np.where(used[:, :, None], differences, np.nan), axis=1)
    for _ in range(_ITERATIONS):
        apart = differences - mean[:, None]
        squared = ((information @ apart[..., None])[..., 0] * apart).sum(axis=2) / 6.0
        weighted = information * np.where(used, 1.0 / (1.0 + squared), 0.0)[:, :, None, None]
        pulls = (weighted @ differences[..., None])[..., 0].sum(axis=1)
        mean = np.linalg.solve(weighted.sum(axis=1), pulls[..., None])[..., 0]
    return np.asarray(6.0 * np.where(used, np.log1p(squared), 0.0).sum(axis=1))
