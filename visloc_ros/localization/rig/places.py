"""Whether cameras are where the rig's file says, by the poses that each of them was found at, over many rig frames."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.rig import Rig
from visloc_ros.core.tangent import move_covariance, perturbed, pose_difference
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.rig.observation import PlaceObservation, observe

_KEPT = 1000  # rig frames of a pair of cameras
_LEAST_FRAMES = 6  # as many as a difference has components
_MOST_BATCHES = 10
_ITERATIONS = 20


@dataclass(frozen=True, eq=False)
class PlaceDifference:
    """How much otherwise a camera is mounted than given, as seen from another one.

    ``observed`` is its ``rig_from_camera``, with covariance (6, 6) about the axes of the rig, by ``frames`` rig frames.
    ``shift_px`` is by how much the difference moves what the camera sees. ``is_contradicted``: the difference is no
    chance, and larger than the errors of keypoints.
    """

    name: str
    seen_from: str
    given: SE3
    observed: SE3
    covariance: Array
    frames: int
    shift_px: float
    is_contradicted: bool

    @property
    def degrees(self) -> float:
        """Angle of the difference."""
        return math.degrees(float(np.linalg.norm(pose_difference(self.observed, self.given)[3:])))

    @property
    def metres(self) -> float:
        """Distance between the two places."""
        return float(np.linalg.norm(self.observed.translation - self.given.translation))

    def __str__(self) -> str:
        sigma_m, sigma = (math.sqrt(float(np.trace(self.covariance[part, part]))) for part in (slice(3), slice(3, 6)))
        return (
            f"'{self.name}' is mounted {self.degrees:.2f} deg (sigma {math.degrees(sigma):.2f}) and {self.metres:.3f} "
            f"m (sigma {sigma_m:.3f}) otherwise than given, as seen from '{self.seen_from}' in {self.frames} rig frames"
        )


class PlaceCheck:
    """Compares the poses at which cameras of a rig were found at one time."""

    def __init__(self, rig: Rig, config: PoseConfig) -> None:
        self._rig, self._config = rig, config
        self._added = 0
        self.known: tuple[PlaceDifference, ...] = ()
        """The differences by the rig frames so far, but for the last few; any thread may read it."""
        self._observed: dict[tuple[str, str], deque[PlaceObservation]] = {}

    def add(self, found: Sequence[CameraSearch]) -> None:
        """Take the cameras of one rig frame that were found, each by its own image."""
        ordered = sorted(found, key=lambda camera: self._rig.names.index(camera.name))
        for one, other in combinations(ordered, 2):
            observations = self._observed.setdefault((one.name, other.name), deque(maxlen=_KEPT))
            observations.append(observe(one, other))
            self._added += 1
            if self._added % _LEAST_FRAMES == 0:
                self.known = tuple(self.differences())

    def differences(self) -> list[PlaceDifference]:
        """Each camera as seen from the first one that is not contradicted itself; pairs with few frames are left out.

        Of the cameras that contradict each other the fewest are to blame, and the reference camera last.
        """
        pairs = {
            pair: self._of_pair(*pair, seen) for pair, seen in self._observed.items() if len(seen) >= _LEAST_FRAMES
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
        """Names of the contradicted cameras whose place moves what they see by more than an inlier may err."""
        limit_px = self._config.max_error_px
        return frozenset(one.name for one in self.known if one.is_contradicted and one.shift_px > limit_px)

    def refined(self) -> Rig:
        """The rig with the observed places of the cameras that are contradicted."""
        rig = self._rig
        for one in self.differences():
            if one.is_contradicted:
                rig = rig.with_place(one.name, one.observed)
        return rig

    def _blamed(self, contradictions: Sequence[tuple[str, str]]) -> set[str]:
        """The fewest cameras without which no contradiction remains, of equally few the last ones of the rig."""
        names = self._rig.names[::-1]
        for count in range(len(names) + 1):
            for some in combinations(names, count):
                if all(one in some or other in some for one, other in contradictions):
                    return set(some)
        raise AssertionError("without any camera there is no contradiction")

    def _of_pair(self, one: str, other: str, seen: Sequence[PlaceObservation]) -> PlaceDifference:
        difference, covariance = robust_mean([o.difference for o in seen], [o.covariance for o in seen])
        by_turn, by_move = np.median([observation.pixels for observation in seen], axis=0).tolist()
        mean = PlaceObservation(difference, covariance, (by_turn, by_move))
        given = self._rig.rig_from_camera(other)
        is_contradicted = mean.contradicts(self._config.loss_scale_px)
        observed = perturbed(given, difference)
        return PlaceDifference(other, one, given, observed, covariance, len(seen), mean.shift_px, is_contradicted)

    def _reversed(self, of_pair: PlaceDifference) -> PlaceDifference:
        """The same difference, of the other camera's place."""
        given = self._rig.rig_from_camera(of_pair.seen_from)
        moved = of_pair.given @ of_pair.observed.inverse  # takes the rig as the one camera has it to that of the other
        lever = given.translation - of_pair.given.translation
        covariance = move_covariance(of_pair.covariance, lever)
        name, seen_from = of_pair.seen_from, of_pair.name
        return PlaceDifference(
            name, seen_from, given, moved @ given, covariance, of_pair.frames, of_pair.shift_px, of_pair.is_contradicted
        )


def robust_mean(differences: Sequence[Array], covariances: Sequence[Array]) -> tuple[Array, Array]:
    """Mean (6,) of differences in their order of time, weighted by their covariances, and its covariance (6, 6).

    By the Cauchy loss, from the median on (iteratively reweighted, Holland and Welsch 1977). Differences of frames
    that follow each other share errors of the map: their scatter is that of the means of a few batches (Conway 1963).
    """
    values = np.array(differences)
    information = np.linalg.inv(np.array(covariances))
    mean = np.median(values, axis=0)
    for _ in range(_ITERATIONS):
        residuals = values - mean
        squared = np.einsum("ni,nij,nj->n", residuals, information, residuals)
        weighted = information / (1.0 + squared / values.shape[1])[:, None, None]
        total = weighted.sum(axis=0)
        mean = np.linalg.solve(total, np.einsum("nij,nj->i", weighted, values))
    batches = np.array_split(np.arange(len(values)), min(_MOST_BATCHES, len(values) // 2))
    means = [
        np.linalg.solve(weighted[rows].sum(axis=0), np.einsum("nij,nj->i", weighted[rows], values[rows]))
        for rows in batches
    ]
    apart = np.array(means) - mean
    scatter = apart.T @ apart / (len(batches) * max(len(batches) - 1, 1))
    return mean, np.asarray(np.linalg.inv(total) + scatter)
