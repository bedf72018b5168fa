"""Odometry of a whole recording as a chain of states: close enough together that what lies between is a short leg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose
from visloc_ros.fusion.drift import OdometryModel
from visloc_ros.fusion.factors import Factors
from visloc_ros.fusion.history import Leg, OdometryHistory, Sample
from visloc_ros.fusion.states import States
from visloc_ros.fusion.window import Legs, inverse, student_weights

SPACING_S = 0.25  # between states; odometry hardly drifts in between
BLIND_SPEED = 1.0  # map units a second that a camera may move while odometry is lost: standard deviation
BLIND_TURN_RATE = 1.0  # rad/s, likewise
FREE = 1e3  # standard deviation of what a new segment may begin with
BROKEN = 0.05  # weight below which a step is no drift, but a jump
TAIL = 8.0  # degrees of freedom of the drift's Student t: a step that slipped counts less


@dataclass(frozen=True, eq=False)
class Recorded:
    """Samples of every frame with odometry, in order; ``at`` interpolates for stamps between frames."""

    samples: Sequence[Sample]
    history: OdometryHistory

    @staticmethod
    def of(odometry: Sequence[OdometryPose], max_gap_s: float) -> Recorded:
        """Sum up path and turning of odometry in the order of its stamps."""
        span_ns = odometry[-1].stamp_ns - odometry[0].stamp_ns if odometry else 0
        history = OdometryHistory(span_ns / NANOSECONDS + 1.0, max_gap_s)
        return Recorded([history.append(pose) for pose in odometry], history)


@dataclass(frozen=True, eq=False)
class Chain:
    """Samples (N) at the states, the legs between them, and which legs (N - 1,) lead to another segment."""

    samples: Sequence[Sample]
    legs: Legs
    is_gap: NDArray[np.bool_]

    @staticmethod
    def of(samples: Sequence[Sample]) -> Chain:
        """Join samples in the order of their stamps; across a gap of odometry nothing is known of the motion."""
        legs = [a.leg_to(b) if a.segment == b.segment else _blind_leg(a, b) for a, b in pairwise(samples)]
        return Chain(samples, Legs.stacked(legs), np.diff([sample.segment for sample in samples]) != 0)

    def index_of(self) -> dict[int, int]:
        """Which state belongs to a stamp."""
        return {sample.stamp_ns: index for index, sample in enumerate(self.samples)}

    def begins_of_segments(self) -> NDArray[np.intp]:
        """Indices of the first state of each segment."""
        return np.concatenate([[0], np.flatnonzero(self.is_gap) + 1])

    def linearise(self, states: States, odometry: OdometryModel, changes: Array) -> Factors:
        """Odometry between neighbours with its drift, and with how anchors' common errors (N - 1, 6, 6) change."""
        residuals, transitions, drifts = self.legs.corrected(odometry.turn_gain).linearise(states, odometry.drift)
        drifts[:, :6, :6] += changes
        drifts[self.is_gap] = self._blind_covariances()
        information = inverse(drifts)
        weights = student_weights(residuals, information, TAIL)
        backward = np.broadcast_to(-np.eye(7), transitions.shape)
        return Factors(
            np.arange(len(residuals)), residuals, transitions, weights[:, None, None] * information, backward
        )

    def is_broken(self, factors: Factors) -> NDArray[np.bool_]:
        """Which legs (N - 1,) odometry got altogether wrong, by their factors: the camera jumped unseen."""
        # Student's weight times the squared error it belongs to tells the weight.
        weighted = np.einsum("ni,nij,nj->n", factors.residuals, factors.information, factors.residuals)
        return np.asarray(((TAIL + 7.0 - weighted) / TAIL < BROKEN) & ~self.is_gap)

    def _blind_covariances(self) -> Array:
        seconds = self.legs.seconds[self.is_gap]
        rates = np.array([BLIND_SPEED] * 3 + [BLIND_TURN_RATE] * 3)
        covariances = np.zeros((len(seconds), 7, 7))
        covariances[:, range(6), range(6)] = np.square(seconds[:, None] * rates)
        covariances[:, 6, 6] = FREE**2
        return covariances


def _blind_leg(before: Sample, after: Sample) -> Leg:
    return Leg(SE3.identity(), 0.0, 0.0, (after.stamp_ns - before.stamp_ns) / NANOSECONDS)


def choose_states(samples: Sequence[Sample], wanted: Iterable[Sample]) -> list[Sample]:
    """Wanted samples, the first and the last of each segment, and others so that none are far apart."""
    chosen = {sample.stamp_ns: sample for sample in wanted}
    for _, of_segment in groupby(samples, key=lambda sample: sample.segment):
        own = list(of_segment)
        chosen |= {sample.stamp_ns: sample for sample in (own[0], *_spaced(own), own[-1])}
    return sorted(chosen.values(), key=lambda sample: sample.stamp_ns)


def _spaced(samples: Sequence[Sample]) -> Iterable[Sample]:
    last_ns = samples[0].stamp_ns
    for sample in samples:
        if sample.stamp_ns - last_ns >= SPACING_S * NANOSECONDS:
            last_ns = sample.stamp_ns
            yield sample
