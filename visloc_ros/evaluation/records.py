"""The records of a run, one for each frame and each anchor, the same for offline runs and live replays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import AnchorPose, Estimate, OdometryPose, Reason, Rejection, State, Support
from visloc_ros.fusion.innovation import Innovation


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """The fused answer for one frame, as it was known when the frame was done: ``map_from_camera`` or a reason.

    ``covariance`` (6, 6) as in ``core.types``; ``odometry_ms`` is the time of tracking; ``pose_age_ms`` that from
    the image's stamp to the pose's publication, None where nothing was published.
    """

    stamp_ns: int
    state: State
    reason: Reason | None = None
    map_from_camera: SE3 | None = None
    covariance: Array | None = None
    odometry_tracked: bool = False
    odometry_ms: float | None = None
    odometry_stage_ms: Mapping[str, float] = field(default_factory=dict)
    pose_age_ms: float | None = None
    support: Support = Support.NONE

    @staticmethod
    def from_estimate(estimate: Estimate, odometry: OdometryPose | Rejection | None = None) -> FrameRecord:
        """Record the fused answer for a frame, and the time of its odometry."""
        stage_ms = {} if odometry is None else dict(odometry.stage_ms)
        return FrameRecord(
            stamp_ns=estimate.stamp_ns,
            state=estimate.state,
            reason=estimate.reason,
            map_from_camera=estimate.map_from_camera,
            covariance=estimate.covariance,
            odometry_tracked=isinstance(odometry, OdometryPose),
            odometry_ms=None if odometry is None else sum(stage_ms.values()),
            odometry_stage_ms=stage_ms,
            support=estimate.support,
        )


@dataclass(frozen=True)
class InnovationRecord:
    """The innovation of a measurement: ``nis`` is the squared innovation over its own covariance."""

    stamp_ns: int
    source: str
    nis: float
    accepted: bool

    @staticmethod
    def from_innovation(innovation: Innovation) -> InnovationRecord:
        """Record an innovation that the fuser's gate judged."""
        return InnovationRecord(innovation.stamp_ns, innovation.source, innovation.squared, innovation.accepted)


@dataclass(frozen=True, eq=False)
class AnchorRecord:
    """One try to find a frame in the map; ``latency_ms`` from the request to the answer.

    ``fused``: the fusion's gate accepted the pose, None where it was not judged. ``reason`` is why the engine rejected
    the frame, or why the gate refused its pose.
    """

    stamp_ns: int
    accepted: bool
    reason: Reason | None = None
    map_from_camera: SE3 | None = None
    covariance: Array | None = None
    num_inliers: int = 0
    latency_ms: float | None = None
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    fused: bool | None = None
    probability: float | None = None

    @staticmethod
    def from_result(result: AnchorPose | Rejection, fused: bool | None = None) -> AnchorRecord:
        """Record an answer of the anchor engine, which took the time of its stages."""
        stage_ms = dict(result.stage_ms)
        latency_ms = sum(stage_ms.values())
        if isinstance(result, Rejection):
            return AnchorRecord(result.stamp_ns, False, result.reason, latency_ms=latency_ms, stage_ms=stage_ms)
        return AnchorRecord(
            stamp_ns=result.stamp_ns,
            accepted=True,
            map_from_camera=result.map_from_camera,
            covariance=result.covariance,
            num_inliers=result.num_inliers,
            latency_ms=latency_ms,
            stage_ms=stage_ms,
            fused=fused,
            probability=result.probability,
        )


@dataclass(frozen=True, eq=False)
class RunRecord:
    """The data of a summary and a report; all records are kept in the order of their stamps.

    ``ground_truth`` holds true ``map_from_camera`` poses. ``map_points`` (P, 3) and ``map_camera_positions`` (M, 3)
    are for the top view, in the map's frame; its unit is the metre only when ``metric``. ``config`` is the effective
    configuration, ``notes`` are sentences for the reader. ``calibration`` is the camera's, with its source.
    ``ended_by`` is the error that ended the run before the last image, if any. ``processor_ms`` is the processor time
    of each stage for a frame, where that was measured.
    """

    title: str
    frames: tuple[FrameRecord, ...]
    anchors: tuple[AnchorRecord, ...] = ()
    ground_truth: Trajectory | None = None
    map_points: Array = field(default_factory=lambda: np.empty((0, 3)))
    map_camera_positions: Array = field(default_factory=lambda: np.empty((0, 3)))
    config: Mapping[str, Any] = field(default_factory=dict)
    frames_dropped: int = 0
    peak_rss_mb: float | None = None
    wall_s: float | None = None
    notes: tuple[str, ...] = ()
    metric: bool = True
    innovations: tuple[InnovationRecord, ...] = ()
    calibration: CameraCalibration | None = None
    ended_by: BaseException | None = None
    processor_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("frames", "anchors", "innovations"):
            object.__setattr__(self, name, tuple(sorted(getattr(self, name), key=lambda item: item.stamp_ns)))
        object.__setattr__(self, "map_points", np.asarray(self.map_points, dtype=np.float64).reshape(-1, 3))
        cameras = np.asarray(self.map_camera_positions, dtype=np.float64).reshape(-1, 3)
        object.__setattr__(self, "map_camera_positions", cameras)
