"""Whether cameras are where, and have the clock, that the rig's file says, by their own poses over many rig frames."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.rig import Rig
from visloc_ros.core.tangent import move_covariance, perturbed, pose_difference
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.clock import FARTHEST_S, LEAST_FRAMES, ClockCheck, ClockFit
from visloc_ros.localization.rig.observation import PlaceObservation, TimedPlace, observe, observe_in_time
from visloc_ros.localization.rig.path import RigPath, SampledPath
from visloc_ros.localization.rig.robust_fit import robust_mean

_KEPT = 250  # rig frames of a pair of cameras
_ROUGHLY = 0.25  # of the difference between two places, in which a camera is in one of them: measured by hand


class Cause(Enum):
    """What makes a camera differ from what is given."""

    NONE = "none"
    MOUNT = "mount"
    CLOCK = "clock"
    EITHER = "mount or clock"
    NEITHER = "neither"


@dataclass(frozen=True, eq=False)
class PlaceDifference:
    """How much otherwise a camera is mounted than given, or how late its stamps are, as seen from another one.

    ``observed`` is its ``rig_from_camera``, with covariance (6, 6) about the axes of the rig, by ``frames`` rig frames;
    ``shift_px`` is by how much the difference moves what the camera sees. It has a ``cause`` where it is no chance, and
    larger than the errors of keypoints. What goes along with the motion is due to the clock, whose stamps are
    ``late_s`` seconds late, with their sigma; None where the motion is not known. ``place_of_other`` is the given
    ``rig_from_camera`` of the camera that it is seen from, ``pixels`` are those of ``PlaceObservation``.
    """

    name: str
    seen_from: str
    given: SE3
    observed: SE3
    covariance: Array
    frames: int
    shift_px: float
    cause: Cause
    place_of_other: SE3
    pixels: tuple[float, float]
    late_s: float | None = None
    late_sigma_s: float | None = None

    @property
    def is_contradicted(self) -> bool:
        """Whether the camera is not as given."""
        return self.cause is not Cause.NONE

    @property
    def degrees(self) -> float:
        """Angle of the difference."""
        return math.degrees(float(np.linalg.norm(pose_difference(self.observed, self.given)[3:])))

    @property
    def metres(self) -> float:
        """Distance between the two places."""
        return float(np.linalg.norm(self.observed.translation - self.given.translation))

    @property
    def is_inverse(self) -> bool:
        """Whether ``camera_from_rig`` was given instead of ``rig_from_camera``."""
        return self._is_rather_at(self.given.inverse)

    @property
    def shows_the_same(self) -> bool:
        """Whether the camera is found where the other one is: one of them shows the other one's images."""
        return self._is_rather_at(self.place_of_other)

    @property
    def is_exchanged(self) -> bool:
        """Whether each may show the other one's images; an inverse place looks like that, too."""
        return self._is_rather_at(self.place_of_other @ self.given.inverse @ self.place_of_other)

    def _is_rather_at(self, other: SE3) -> bool:
        """Whether the camera is about in another place, by what that moves in its images."""
        return self._pixels_apart(self.observed, other) < _ROUGHLY * self._pixels_apart(self.given, other)

    def _pixels_apart(self, one: SE3, other: SE3) -> float:
        step = pose_difference(one, other)
        by_turn, by_move = self.pixels
        return by_turn * float(np.linalg.norm(step[3:])) + by_move * float(np.linalg.norm(step[:3]))

    def __str__(self) -> str:
        seen = f"as seen from '{self.seen_from}' in {self.frames} rig frames"
        if self.is_contradicted and self.shows_the_same:
            return f"'{self.name}' and '{self.seen_from}' show the same images, in {self.frames} rig frames"
        if self.cause is Cause.CLOCK:
            return f"the stamps of '{self.name}' are {self._late}, {seen}"
        sigma_m, sigma = (math.sqrt(float(np.trace(self.covariance[part, part]))) for part in (slice(3), slice(3, 6)))
        words = (
            f"'{self.name}' is mounted {self.degrees:.2f} deg (sigma {math.degrees(sigma):.2f}) and {self.metres:.3f} "
            f"m (sigma {sigma_m:.3f}) otherwise than given, {seen}"
        )
        if self.cause is Cause.NEITHER:
            return f"{words}, which no single place explains, and no time shift up to {FARTHEST_S:.0f} s"
        if self.cause is not Cause.EITHER:
            return words if self.late_s is None else f"{words}; its stamps are {self._late}"
        why = "the motion is known in too few of them" if self.late_s is None else "the motion was too steady to tell"
        return f"{words}, or its stamps are late or early: {why}"

    @property
    def _late(self) -> str:
        assert self.late_s is not None
        assert self.late_sigma_s is not None
        late_ms, sigma_ms = 1e3 * self.late_s, 1e3 * self.late_sigma_s
        return f"{abs(late_ms):.0f} ms (sigma {sigma_ms:.0f}) {'late' if late_ms >= 0.0 else 'early'}"


class PlaceCheck:
    """Compares the poses at which cameras of a rig were found at one time."""

    def __init__(self, rig: Rig, config: PoseConfig) -> None:
        self._rig, self._config = rig, config
        self._added = 0
        self.known: tuple[PlaceDifference, ...] = ()
        """The differences by the rig frames so far, but for the last few; any thread may read it."""
        self._observed: dict[tuple[str, str], deque[tuple[PlaceObservation, TimedPlace]]] = {}
        self._path = RigPath()

    def add(self, found: Sequence[CameraSearch]) -> None:
        """Take the cameras of one rig frame that were found, each by its own image."""
        ordered = sorted(found, key=lambda camera: self._rig.names.index(camera.name))
        for one, other in combinations(ordered, 2):
            observations = self._observed.setdefault((one.name, other.name), deque(maxlen=_KEPT))
            in_time = observe_in_time(one, other, self._rig.rig_from_camera(one.name))
            observations.append((observe(one, other), in_time))
            self._added += 1
            if self._added % LEAST_FRAMES == 0:
                self.known = tuple(self.differences())

    def moved(self, leading: str, odom_from_rig: Sequence[tuple[int, SE3]]) -> None:
        """Take the newest poses of the rig in odometry, by the stamps of the camera that it follows."""
        self._path.add(leading, odom_from_rig)

    def differences(self) -> list[PlaceDifference]:
        """Each camera as seen from the first one that is not contradicted itself; pairs with few frames are left out.

        Of the cameras that contradict each other the fewest are to blame, and the reference camera last.
        """
        path = self._path.sampled()
        pairs = {
            pair: self._of_pair(*pair, seen, path) for pair, seen in self._observed.items() if len(seen) >= LEAST_FRAMES
        }
        blamed = self._blamed([pair for pair, difference in pairs.items() if difference.is_contradicted])
        chosen: dict[str, PlaceDifference] = {}
        for (one, other), difference in pairs.items():
            if one not in blamed:
                chosen.setdefault(other, difference)
            elif other not in blamed:
                chosen.setdefault(one, self._reversed(difference))
        return [chosen[name] for name in self._rig.names if name in chosen]

    @property
    def unusable(self) -> frozenset[str]:
        """Names of the contradicted cameras whose difference moves what they see by more than an inlier may err.

        Both of a pair are unusable if either may show the other one's images.
        """
        limit_px = self._config.max_error_px
        wrong = [one for one in self.known if one.is_contradicted and one.shift_px > limit_px]
        mixed_up = {one.seen_from for one in wrong if one.shows_the_same or one.is_exchanged}
        return frozenset({one.name for one in wrong} | mixed_up)

    def refined(self) -> Rig:
        """The rig with the observed places of cameras that are mounted otherwise, and the time shifts of other clocks.

        Where it is not known which of the two a camera needs, it is as given.
        """
        rig = self._rig
        for one in self.differences():
            if one.cause is Cause.MOUNT and not one.shows_the_same:
                rig = rig.with_place(one.name, one.observed)
            elif one.cause is Cause.CLOCK and one.late_s is not None:
                rig = rig.with_time_shift(one.name, rig.cameras[one.name].time_shift_s - one.late_s)
        return rig

    def _blamed(self, contradictions: Sequence[tuple[str, str]]) -> set[str]:
        """The fewest cameras without which no contradiction remains, of equally few the last ones of the rig."""
        names = self._rig.names[::-1]
        for count in range(len(names) + 1):
            for some in combinations(names, count):
                if all(one in some or other in some for one, other in contradictions):
                    return set(some)
        raise AssertionError("without any camera there is no contradiction")

    def _of_pair(
        self, one: str, other: str, seen: Sequence[tuple[PlaceObservation, TimedPlace]], path: SampledPath | None
    ) -> PlaceDifference:
        observations = [observation for observation, _ in seen]
        difference, covariance = robust_mean([o.difference for o in observations], [o.covariance for o in observations])
        by_turn, by_move = np.median([observation.pixels for observation in observations], axis=0).tolist()
        mean = PlaceObservation(difference, covariance, (by_turn, by_move))
        given = self._rig.rig_from_camera(other)
        fit = None if path is None else ClockCheck(other, given, [in_time for _, in_time in seen], path).fit()
        cause, shift_px = self._cause(mean, fit)
        late = (None, None) if fit is None else (fit.late_s, fit.sigma_s)
        observed = perturbed(given, difference)
        places = self._rig.rig_from_camera(one), mean.pixels
        return PlaceDifference(other, one, given, observed, covariance, len(seen), shift_px, cause, *places, *late)

    def _cause(self, mean: PlaceObservation, fit: ClockFit | None) -> tuple[Cause, float]:
        """What explains the observations of a pair, and by how many pixels it moves what the camera sees.

        A place that would differ whatever the clock is, and a clock that would whatever the place is, are sure; but not
        where they leave more than an inlier may err.
        """
        least_px = self._config.loss_scale_px
        is_clock, moved_px = False, 0.0
        if fit is not None and fit.is_sure:
            moved_px = mean.in_pixels(*fit.moved)
            is_clock = moved_px > least_px
        if not is_clock and not mean.contradicts(least_px):
            return Cause.NONE, mean.shift_px
        if fit is not None and (
            abs(fit.late_s) > FARTHEST_S or mean.in_pixels(*fit.unexplained) > self._config.max_error_px
        ):
            return Cause.NEITHER, max(moved_px, mean.shift_px)
        if is_clock:
            return Cause.CLOCK, moved_px
        is_mount = fit is not None and PlaceObservation(fit.difference, fit.covariance, mean.pixels).contradicts(
            least_px
        )
        return Cause.MOUNT if is_mount else Cause.EITHER, mean.shift_px

    def _reversed(self, of_pair: PlaceDifference) -> PlaceDifference:
        """The same difference, of the other camera's place."""
        given = self._rig.rig_from_camera(of_pair.seen_from)
        moved = of_pair.given @ of_pair.observed.inverse  # takes the rig as the one camera has it to that of the other
        lever = given.translation - of_pair.given.translation
        return replace(
            of_pair,
            name=of_pair.seen_from,
            seen_from=of_pair.name,
            given=given,
            place_of_other=of_pair.given,
            observed=moved @ given,
            covariance=move_covariance(of_pair.covariance, lever),
            late_s=None if of_pair.late_s is None else -of_pair.late_s,
        )
