"""Map points followed from anchors on, as motions between the states of a chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.core.types import TrackedPose
from visloc_ros.fusion.chain import SPACING_S, Chain
from visloc_ros.fusion.config import TrackingConfig
from visloc_ros.fusion.drift import transition_matrix
from visloc_ros.fusion.factors import Factors
from visloc_ros.fusion.noise_levels import Inflation
from visloc_ros.fusion.states import States
from visloc_ros.fusion.window import Fix, inverse, student_weights

REACH = 24  # states that a motion may span; the equations' band is as wide


class _Motion(NamedTuple):
    first: int
    second: int
    camera_from_camera: SE3
    covariance: Array


@dataclass(frozen=True, eq=False)
class Followed:
    """Motions (M) in map units between states ``first`` (M,) and others ``ahead`` (M,), with covariances (M, 6, 6)."""

    first: NDArray[np.intp]
    ahead: NDArray[np.intp]
    rotations: Array
    translations: Array
    covariances: Array

    @staticmethod
    def of(tracked: Sequence[TrackedPose], chain: Chain, anchors: Collection[Fix], config: TrackingConfig) -> Followed:
        """Poses that belong to a state and to one of the anchors; errors of neighbouring ones are alike."""
        motions = list(_motions(tracked, chain, {fix.stamp_ns: fix.anchor.map_from_camera for fix in anchors}))
        first, second = (np.array([motion[which] for motion in motions], dtype=np.intp) for which in (0, 1))
        alike = max(1.0, 2.0 * config.correlation_s / SPACING_S)
        return Followed(
            first,
            second - first,
            np.array([motion.camera_from_camera.rotation for motion in motions]).reshape(-1, 3, 3),
            np.array([motion.camera_from_camera.translation for motion in motions]).reshape(-1, 3),
            alike * np.array([motion.covariance for motion in motions]).reshape(-1, 6, 6),
        )

    def linearise(self, states: States, inflation: Inflation, tail: float) -> Factors:
        """Motion of the states against that of the followed points, whose claims are inflated."""
        second = self.first + self.ahead
        motions = np.einsum("nij,nj->ni", states.rotations[self.first], self.translations)
        turned = states.rotations[self.first] @ self.rotations
        errors = np.column_stack(
            [
                states.positions[self.first] + motions - states.positions[second],
                rotation_vector(turned @ np.swapaxes(states.rotations[second], 1, 2)).reshape(-1, 3),
            ]
        )
        information = inverse(inflation.inflate(self.covariances))
        weights = student_weights(errors, information, tail)
        forward = np.zeros((len(errors), 6, 7))
        forward[:, :, :6] = -transition_matrix(motions)[:, :6, :6]
        backward = np.broadcast_to(np.eye(6, 7), forward.shape)
        return Factors(self.first, errors, forward, weights[:, None, None] * information, backward)


def _motions(tracked: Sequence[TrackedPose], chain: Chain, anchors: dict[int, SE3]) -> Iterator[_Motion]:
    """From the anchor's state on; far from it, from a state in between whose pose rests on the same anchor."""
    index = chain.index_of()
    known: dict[int, dict[int, TrackedPose]] = defaultdict(dict)
    for pose in sorted(tracked, key=lambda pose: pose.stamp_ns):
        at, origin = index.get(pose.stamp_ns), index.get(pose.anchor_stamp_ns)
        if at is None or origin is None or at <= origin or pose.anchor_stamp_ns not in anchors:
            continue
        siblings = known[pose.anchor_stamp_ns]
        earlier = next((one for one in siblings if at - one <= REACH), None)
        siblings[at] = pose
        if at - origin <= REACH:
            step = anchors[pose.anchor_stamp_ns].inverse @ pose.map_from_camera
            yield _Motion(origin, at, step, pose.covariance_since_anchor)
        elif earlier is not None:
            before = siblings[earlier]
            step = before.map_from_camera.inverse @ pose.map_from_camera
            yield _Motion(earlier, at, step, before.covariance_since_anchor + pose.covariance_since_anchor)
