"""Errors of a run over time, shared by the summary, the plots and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.evaluation.association import truth_at
from visloc_ros.evaluation.metrics import nees, pose_errors
from visloc_ros.evaluation.records import AnchorRecord, FrameRecord, RunRecord


@dataclass(frozen=True, eq=False)
class PoseSeries:
    """Per record (N,), NaN where unknown: time since the run's first frame, errors, standard deviations.

    ``positions`` are camera centres (N, 3) in the map. ``sigma_position`` and ``sigma_rotation_deg`` are one
    standard deviation along the worst axis; ``nees`` is the squared error normalised by the covariance.
    ``num_with_truth`` counts the records with a true pose, whether or not they have a pose themselves.
    """

    seconds: Array
    positions: Array
    position_error: Array
    rotation_error_deg: Array
    sigma_position: Array
    sigma_rotation_deg: Array
    nees: Array
    num_with_truth: int

    @property
    def errors(self) -> Array:
        """Position and rotation errors (N, 2)."""
        return np.column_stack([self.position_error, self.rotation_error_deg])


@dataclass(frozen=True, eq=False)
class RunSeries:
    """The fused frames and the anchors of a run over time, which begins at ``origin_ns``."""

    frames: PoseSeries
    anchors: PoseSeries
    origin_ns: int = 0

    def seconds_of(self, stamp_ns: int) -> float:
        """Time since the run's first frame."""
        return (stamp_ns - self.origin_ns) / NANOSECONDS


def run_series(record: RunRecord) -> RunSeries:
    """Compute errors in the map's frame, as the poses came, with no alignment afterwards."""
    items = record.frames or record.anchors
    origin_ns = items[0].stamp_ns if items else 0
    truth = record.ground_truth
    return RunSeries(_series(record.frames, truth, origin_ns), _series(record.anchors, truth, origin_ns), origin_ns)


def _series(records: Sequence[FrameRecord | AnchorRecord], truth: Trajectory | None, origin_ns: int) -> PoseSeries:
    poses = [item.map_from_camera for item in records]
    truths = [None if truth is None else truth_at(truth, item.stamp_ns) for item in records]
    errors = pose_errors(poses, truths)
    sigmas = np.array([_worst_sigmas(item.covariance) for item in records]).reshape(-1, 2)
    return PoseSeries(
        seconds=np.array([(item.stamp_ns - origin_ns) / NANOSECONDS for item in records]),
        positions=np.array([_position(pose) for pose in poses]).reshape(-1, 3),
        position_error=errors[:, 0],
        rotation_error_deg=errors[:, 1],
        sigma_position=sigmas[:, 0],
        sigma_rotation_deg=np.degrees(sigmas[:, 1]),
        nees=np.array([_nees(item, true) for item, true in zip(records, truths, strict=True)]),
        num_with_truth=sum(true is not None for true in truths),
    )


def _position(pose: SE3 | None) -> Array:
    return np.full(3, np.nan) if pose is None else pose.translation


def _worst_sigmas(covariance: Array | None) -> tuple[float, float]:
    """Standard deviation of position and of rotation (radians) along their worst axes."""
    if covariance is None or not np.all(np.isfinite(covariance)):
        return np.nan, np.nan
    variances = [float(np.linalg.eigvalsh(block)[-1]) for block in (covariance[:3, :3], covariance[3:, 3:])]
    position, rotation = np.sqrt(np.maximum(variances, 0.0))
    return float(position), float(rotation)


def _nees(item: FrameRecord | AnchorRecord, truth: SE3 | None) -> float:
    if truth is None or item.map_from_camera is None or item.covariance is None:
        return np.nan
    return nees(item.map_from_camera, truth, item.covariance)
