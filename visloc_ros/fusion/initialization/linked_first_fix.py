"""The first fix without odometry: where an anchor's image shows the map points of the anchor before it, both agree.

Odometry needs parallax to begin, and more of it to determine its scale; points found again need neither. After a wrong
anchor, the next image does not show its points where they should be.
"""

from __future__ import annotations

from collections.abc import Sequence

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, TrackedPose
from visloc_ros.fusion.anchor_fix import make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.first_fix import FirstFix
from visloc_ros.fusion.initialization.pose_prior import StampedPosePrior
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.odometry_model.history import OdometrySample

KNOWN_SCALE = ScalePrior(0.0, 1e-3)
"""Scale of a motion in map units, or of no motion."""
UNSEGMENTED = -1
"""Segment of samples without odometry: a pose prior has no motion to these."""


class LinkedFirstFix:
    """Collects anchors, each linked to the one before: the tracked pose of its image by the points of that one."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._anchors: dict[int, AnchorPose] = {}
        self._places: dict[int, SE3] = {}  # of the anchors, where the links lead from the first one's pose
        self._unlinked: tuple[AnchorPose, StampedPosePrior | None] | None = None

    def take(self, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> None:
        """Add an anchor, whose link may follow; where the last one got none, the search begins with that one."""
        if self._unlinked is not None:
            self._begin(*self._unlinked)
        if self._anchors:
            self._unlinked = anchor, pose_prior
        else:
            self._begin(anchor, pose_prior)

    def link(self, tracked: TrackedPose) -> Sequence[AnchorPose]:
        """Link the last anchor to the one before; returns the anchors that agree, once they suffice."""
        before = self._anchors.get(tracked.anchor_stamp_ns)
        if before is None or self._unlinked is None or self._unlinked[0].stamp_ns != tracked.stamp_ns:
            return ()
        (anchor, pose_prior), self._unlinked = self._unlinked, None
        motion = before.map_from_camera.inverse @ tracked.map_from_camera
        return self._add(anchor, self._places[before.stamp_ns] @ motion, pose_prior)

    def _begin(self, anchor: AnchorPose, pose_prior: StampedPosePrior | None) -> None:
        self._search, self._unlinked = FirstFix(self._config), None
        self._anchors.clear()
        self._places.clear()
        self._add(anchor, anchor.map_from_camera, pose_prior)

    def _add(self, anchor: AnchorPose, place: SE3, pose_prior: StampedPosePrior | None) -> Sequence[AnchorPose]:
        self._anchors[anchor.stamp_ns], self._places[anchor.stamp_ns] = anchor, place
        sample = OdometrySample(anchor.stamp_ns, UNSEGMENTED, place)
        fix = make_fix(sample, anchor, self._config.anchor_noise)
        hypothesis = self._search.take(fix, KNOWN_SCALE, pose_prior)
        return () if hypothesis is None else [one.anchor for one in hypothesis.fixes]
