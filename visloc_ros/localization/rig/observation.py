"""Where a camera of a rig is mounted as seen from another one, by the poses that both were found at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import move_covariance, pose_difference, turn_covariance
from visloc_ros.localization.rig.camera import CameraSearch
from visloc_ros.localization.view_change import typical_depth

SURE = 0.999
"""That a difference is no chance."""


@dataclass(frozen=True, eq=False)
class PlaceObservation:
    """Difference (6,) of a camera's place from the given one about the axes of the rig, with its covariance (6, 6).

    ``pixels`` are by how many a turn of a radian, and a step of a metre, move what the camera sees.
    """

    difference: Array
    covariance: Array
    pixels: tuple[float, float]

    @property
    def shift_px(self) -> float:
        """By how many pixels the difference moves what the camera sees."""
        return self.in_pixels(float(np.linalg.norm(self.difference[:3])), float(np.linalg.norm(self.difference[3:])))

    def in_pixels(self, step: float, turn: float) -> float:
        """By how many pixels a step in metres and a turn in radians move what the camera sees."""
        by_turn, by_move = self.pixels
        return by_turn * turn + by_move * step

    def contradicts(self, least_px: float) -> bool:
        """Whether the difference is no chance, and moves what the camera sees by more than ``least_px``."""
        squared = float(self.difference @ np.linalg.solve(self.covariance, self.difference))
        return squared > chi_square_quantile(SURE, 6) and self.shift_px > least_px


@dataclass(frozen=True, eq=False)
class TimedPlace:
    """A camera's ``rig_from_other`` by the pose of one camera, where each was when its image had its own stamp.

    Its covariance (6, 6) is about the axes of the rig.
    """

    one_ns: int
    other_ns: int
    rig_from_other: SE3
    covariance: Array


def observe(one: CameraSearch, other: CameraSearch) -> PlaceObservation:
    """The other camera's place on the rig by the pose of one camera, against the given place; both were found."""
    rig_from_map = one.own_map_from_rig.inverse
    observed = rig_from_map @ other.anchor.map_from_camera
    covariance = _covariance(one, other, rig_from_map)
    for camera in (one, other):
        if camera.motion_covariance is not None:
            covariance = covariance + camera.motion_covariance
    depth = typical_depth(other.anchor.map_from_camera, other.anchor.inlier_points)
    focal_length = float(other.query.frame.camera.mean_focal_length())
    difference = pose_difference(observed, other.rig_from_camera)
    return PlaceObservation(difference, covariance, (focal_length, focal_length / depth))


def observe_in_time(one: CameraSearch, other: CameraSearch, rig_from_one: SE3) -> TimedPlace:
    """The same for the times of both images; ``rig_from_one`` is the place of the one camera."""
    rig_from_map = rig_from_one @ one.anchor.map_from_camera.inverse
    observed = rig_from_map @ other.anchor.map_from_camera
    stamps_ns = (one.query.frame.stamp_ns, other.query.frame.stamp_ns)
    return TimedPlace(*stamps_ns, observed, _covariance(one, other, rig_from_map))


def _covariance(one: CameraSearch, other: CameraSearch, rig_from_map: SE3) -> Array:
    """Covariance (6, 6) of the place of the other camera about the axes of the rig, by both poses in the map."""
    lever = other.anchor.map_from_camera.translation - one.anchor.map_from_camera.translation
    in_map = other.anchor.covariance + move_covariance(one.anchor.covariance, lever)
    return turn_covariance(in_map, rig_from_map.rotation)
