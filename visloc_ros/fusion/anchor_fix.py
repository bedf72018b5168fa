"""An anchor paired with the odometry at its image: the position fix that alignment and smoothing work with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.config import AnchorNoiseConfig
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.smoothing.tracked_motion_filter import TrackedMotionFilter

LEAST_RISK = 0.01  # of an anchor without any sign of an error: the same place may exist twice
LEAST_PROBABILITY = 0.01
UNKNOWN_RISK = 0.05  # where the anchor reports none


@dataclass(frozen=True, eq=False)
class AnchorFix:
    """An anchor together with the odometry at its image's stamp, and the ``risk``: the probability that it is wrong.

    ``covariance`` (6, 6) is of its independent error, larger the greater the risk; ``map_covariance`` (6, 6) of the
    map's error there, which anchors nearby share. Where the anchor does not state the latter, both include the floor of
    the configuration. ``tracked_motion`` is the camera's motion since, by the map points that were tracked through
    later frames.
    """

    sample: OdometrySample
    anchor: AnchorPose
    covariance: Array
    map_covariance: Array
    risk: float
    tracked_motion: TrackedMotionFilter = field(default_factory=TrackedMotionFilter)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return self.sample.stamp_ns

    def precedes(self, sample: OdometrySample) -> bool:
        """Whether a frame of the segment is newer than the anchor and all poses tracked since it."""
        newest_ns = self.tracked_motion.newest_ns or self.stamp_ns
        return sample.segment == self.sample.segment and sample.stamp_ns > newest_ns


def make_fix(sample: OdometrySample, anchor: AnchorPose, config: AnchorNoiseConfig) -> AnchorFix:
    """Pair an anchor with odometry, and split its covariance into its own part and that of the map."""
    of_map, floor = anchor.map_covariance, np.zeros((6, 6))
    if of_map is None:
        of_map = floor = np.diag(np.repeat([config.position_floor**2, np.deg2rad(config.rotation_floor_deg) ** 2], 3))
    if anchor.probability is None:
        return AnchorFix(sample, anchor, anchor.own_covariance + floor, of_map, UNKNOWN_RISK)
    probability = max(anchor.probability, LEAST_PROBABILITY)
    of_itself = anchor.own_covariance / probability  # it is information only if it is right
    return AnchorFix(sample, anchor, of_itself + floor, of_map, max(LEAST_RISK, 1.0 - probability))
