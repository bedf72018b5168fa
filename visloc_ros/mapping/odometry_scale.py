"""The scale of a reconstruction from wheel odometry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.mapping.reference_poses import pose_at
from visloc_ros.sources.measurements import WheelOdometry

_STEP_M = 0.5
_MIN_STEPS = 5
_MAX_TURN_DEG = 15.0
_MAD_TO_SIGMA = 1.4826
_MEDIAN_INEFFICIENCY = 1.2533  # standard deviation of a median in those of a mean, for normal deviates


class ScaleEstimate(NamedTuple):
    """Metres in one unit of the reconstruction, and the relative standard deviation of that (None: not known)."""

    scale: float
    error: float | None


def scale_from_odometry(paths: Sequence[tuple[Trajectory, WheelOdometry]], max_gap_s: float) -> ScaleEstimate:
    """Scale that makes steps of the paths ``sfm_from_camera`` as long as those of the odometry.

    A path is cut where the odometry has moved half a metre, so that its drift does not add up; the median over the
    ratios shrugs off slipping wheels. The error is what the ratios' scatter shows: a wheel radius that is wrong does
    not show. Where the camera's place on the base is unknown, steps that turn are left out (a camera ahead of the
    axle moves sideways in a turn). Raises MapError where less than five steps are left.
    """
    ratios = np.array([ratio for path, odometry in paths for ratio in _step_ratios(path, odometry, max_gap_s)])
    if len(ratios) < _MIN_STEPS:
        straight = "" if all(odometry.is_of_camera for _, odometry in paths) else " without turning"
        raise MapError(
            f"the odometry measures {len(ratios)} steps of {_STEP_M:g} m between registered images{straight}, "
            f"{_MIN_STEPS} are needed: drive further, and check that both have the same clock"
        )
    logarithms = np.log(ratios)
    centre = float(np.median(logarithms))
    deviation = _MAD_TO_SIGMA * float(np.median(np.abs(logarithms - centre)))
    return ScaleEstimate(float(np.exp(centre)), _MEDIAN_INEFFICIENCY * deviation / np.sqrt(len(ratios)))


def _step_ratios(path: Trajectory, odometry: WheelOdometry, max_gap_s: float) -> Iterator[float]:
    """Length by odometry over length by images, of consecutive steps of half a metre."""
    known = [
        (sfm_from_camera, odom_from_body)
        for stamp_ns, sfm_from_camera in zip(path.stamps_ns, path.poses, strict=True)
        if (odom_from_body := pose_at(odometry.poses, int(stamp_ns), max_gap_s)) is not None
    ]
    begin = None
    for sfm, odom in known:
        if begin is None:
            begin = (sfm, odom)
            continue
        moved = float(np.linalg.norm(odom.translation - begin[1].translation))
        if moved < _STEP_M:
            continue
        seen = float(np.linalg.norm(sfm.translation - begin[0].translation))
        turned = rotation_angle_deg(begin[0].rotation, sfm.rotation)
        if seen > 0 and (odometry.is_of_camera or turned <= _MAX_TURN_DEG):
            yield moved / seen
        begin = (sfm, odom)
