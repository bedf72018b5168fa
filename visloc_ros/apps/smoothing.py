"""The trajectory of a run estimated once more, from all that came during it."""

from __future__ import annotations

import logging

from visloc_ros.core.manifest import Manifest
from visloc_ros.core.types import Reason, Rejection, State
from visloc_ros.evaluation import FrameRecord
from visloc_ros.fusion import FusionConfig
from visloc_ros.fusion.health import PoseSupport, judge_pose
from visloc_ros.fusion.smoothing.trajectory_smoothing import RecordedMeasurements, SmoothedPose, smooth

log = logging.getLogger(__name__)


def smooth_frames(
    measurements: RecordedMeasurements, config: FusionConfig, manifest: Manifest
) -> tuple[FrameRecord, ...]:
    """Records of the frames that have a pose afterwards; none where no anchors agree."""
    smoothed = smooth(measurements, config, manifest.metric, manifest.gravity_aligned)
    if isinstance(smoothed, Rejection):
        log.warning("nothing could be smoothed: %s", smoothed)
        return ()
    return tuple(_record(pose, config) for pose in smoothed.poses)


def _record(pose: SmoothedPose, config: FusionConfig) -> FrameRecord:
    state = judge_pose(PoseSupport(0.0, 0, pose.covariance, False), config.state)
    return FrameRecord(
        pose.stamp_ns,
        state,
        None if state is State.LOCALIZED else Reason.UNCERTAIN,
        pose.map_from_camera,
        pose.covariance,
        odometry_tracked=True,
    )
