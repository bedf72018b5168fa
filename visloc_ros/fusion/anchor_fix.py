"""An anchor paired with the odometry at its image: the position fix that alignment and smoothing work with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.config import AnchorNoiseConfig
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.smoothing.tracked_motion_filter import Trail


@dataclass(frozen=True, eq=False)
class Fix:
    """An anchor together with the odometry at its image's stamp.

    ``covariance`` (6, 6) is of the error that it has for itself, ``map_covariance`` (6, 6) of the map's error there,
    which anchors nearby share; both with the least error of a map. ``trail`` holds how the map points were followed
    through later frames.
    """

    sample: Sample
    anchor: AnchorPose
    covariance: Array
    map_covariance: Array
    trail: Trail = field(default_factory=Trail)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return self.sample.stamp_ns

    def is_followed_by(self, sample: Sample) -> bool:
        """Tell whether a frame of the same segment is newer than the anchor and all that was followed from it."""
        newest_ns = self.trail.newest_ns or self.stamp_ns
        return sample.segment == self.sample.segment and sample.stamp_ns > newest_ns


def make_fix(sample: Sample, anchor: AnchorPose, config: AnchorNoiseConfig) -> Fix:
    """Pair an anchor with odometry; what of its covariance is the map's own is told apart from the rest."""
    floor = np.diag(np.repeat([config.position_floor**2, np.deg2rad(config.rotation_floor_deg) ** 2], 3))
    of_map = np.zeros((6, 6)) if anchor.map_covariance is None else anchor.map_covariance
    return Fix(sample, anchor, anchor.covariance - of_map + floor, of_map + floor)
