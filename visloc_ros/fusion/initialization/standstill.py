"""Where a camera is that stands still, by anchors alone: before it has moved, odometry has neither pose nor scale.

Anchors that were found during a standstill are of one pose. They must agree as those of a first fix must.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.anchor_fix import AnchorFix, make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.first_fix import FirstFix
from visloc_ros.fusion.initialization.pose_prior import StampedPosePrior
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.odometry_model.history import OdometrySample

NO_MOTION = ScalePrior(0.0, 1e-3)
"""Without motion the scale does not matter: any will do."""
STILL_TRANSLATION, STILL_DEG = 2e-3, 0.1
"""What odometry may tell of a camera that stands: in its units, about the depth of what is seen, and in degrees."""


@dataclass(frozen=True, eq=False)
class StandingPose:
    """``map_from_camera`` of a standing camera, with the covariance (6, 6) of one anchor.

    Anchors of one view share most of their errors: the mean of many is little better. ``count`` of them agree, and
    the newest is of ``newest_ns``; ``is_contradicted`` where the last one is not among them.
    """

    map_from_camera: SE3
    covariance: Array
    newest_ns: int
    count: int
    is_contradicted: bool
    probability: float | None


class Standstill:
    """One standstill after another, and the anchors that were found during the present one."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self.end()

    def end(self) -> None:
        """The camera moves, or may have moved."""
        self._rest: OdometrySample | None = None
        self._begin_ns: int | None = None
        self._newest_ns = 0
        self._search = FirstFix(self._config)
        self._known: set[int] = set()
        self._pose: StandingPose | None = None

    def see(self, sample: OdometrySample) -> None:
        """The camera is where odometry says: it stands since it was last seen to move."""
        if self._rest is None or not _is_still(self._rest, sample):
            self.end()
            self._rest = sample
        self.go_on(sample.stamp_ns)

    def go_on(self, stamp_ns: int) -> None:
        """The camera stands still at a frame."""
        self._begin_ns = stamp_ns if self._begin_ns is None else self._begin_ns
        self._newest_ns = stamp_ns

    def take(self, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> None:
        """Add an anchor, if it is of the present standstill."""
        is_of_now = self._begin_ns is not None and self._begin_ns <= anchor.stamp_ns <= self._newest_ns
        if not is_of_now or anchor.stamp_ns in self._known:
            return
        self._known.add(anchor.stamp_ns)
        fix = make_fix(OdometrySample(anchor.stamp_ns, 0, SE3.identity()), anchor, self._config.anchor_noise)
        hypothesis = self._search.take(fix, NO_MOTION, pose_prior)
        if hypothesis is None:
            self._pose = None
            return
        best = min(hypothesis.fixes, key=_variance)
        mean = SE3(hypothesis.map_from_odom.rotation, hypothesis.map_from_odom.translation)
        newest = max(hypothesis.fixes, key=lambda one: one.stamp_ns)
        self._pose = StandingPose(
            mean,
            best.covariance + best.map_covariance,
            newest.stamp_ns,
            len(hypothesis.fixes),
            fix not in hypothesis.fixes,
            newest.anchor.probability,
        )

    def pose_at(self, stamp_ns: int) -> StandingPose | None:
        """The pose at a frame of the present standstill; None where it is not known."""
        is_of_now = self._begin_ns is not None and self._begin_ns <= stamp_ns <= self._newest_ns
        return self._pose if is_of_now else None


def _is_still(before: OdometrySample, after: OdometrySample) -> bool:
    if before.segment != after.segment:
        return False
    start, end = before.odom_from_camera, after.odom_from_camera
    moved = float(np.linalg.norm(end.translation - start.translation))
    return moved <= STILL_TRANSLATION and rotation_angle_deg(start.rotation, end.rotation) <= STILL_DEG


def _variance(fix: AnchorFix) -> float:
    return float(np.trace((fix.covariance + fix.map_covariance)[:3, :3]))
