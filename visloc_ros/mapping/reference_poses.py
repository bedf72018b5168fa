"""Known poses of map images, by stamp or by name."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.sources.named_poses import NamedPoses

ReferencePoses: TypeAlias = Trajectory | NamedPoses


def find_reference(references: ReferencePoses | None, name: str, stamp_ns: int, max_gap_s: float) -> SE3 | None:
    """Reference pose ``map_from_camera`` of an image, by its name or its stamp; None where there is none."""
    if references is None:
        return None
    return references.find(name) if isinstance(references, NamedPoses) else pose_at(references, stamp_ns, max_gap_s)


def pose_at(trajectory: Trajectory, stamp_ns: int, max_gap_s: float) -> SE3 | None:
    """Pose at a stamp, interpolated between poses at most ``max_gap_s`` apart; None where there is none."""
    exact = trajectory.nearest(stamp_ns, 0)
    if exact is not None:
        return exact
    right = int(np.searchsorted(trajectory.stamps_ns, stamp_ns))
    if not 0 < right < len(trajectory):
        return None
    gap_ns = int(trajectory.stamps_ns[right] - trajectory.stamps_ns[right - 1])
    return trajectory.interpolate(stamp_ns) if gap_ns <= max_gap_s * NANOSECONDS else None
