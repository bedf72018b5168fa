"""Slewed output: a continuous ``odom`` frame, and a ``map_from_odom`` that moves to its target at bounded rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.tangent import pose_difference
from visloc_ros.fusion.config import SlewConfig


@dataclass(frozen=True, eq=False)
class SlewedOutput:
    """Both transforms at one frame: as broadcast, and the target of the newest estimate (raw)."""

    odom_from_camera: SE3
    map_from_odom: SE3
    raw_map_from_odom: SE3

    @staticmethod
    def begin(map_from_camera: SE3) -> SlewedOutput:
        """Start at the first fix; there the odom frame coincides with the map, and so stands upright with it."""
        return SlewedOutput(map_from_camera, SE3.identity(), SE3.identity())

    def advanced(self, camera_from_camera: SE3, scale: float) -> SlewedOutput:
        """Odometry's next increment, scaled: the scale of later increments never touches earlier ones."""
        step = SE3(camera_from_camera.rotation, scale * camera_from_camera.translation)
        return SlewedOutput(self.odom_from_camera @ step, self.map_from_odom, self.raw_map_from_odom)

    def corrected(self, map_from_camera: SE3) -> SlewedOutput:
        """Set the newest estimate at this frame as the target; nothing moves yet."""
        return SlewedOutput(self.odom_from_camera, self.map_from_odom, map_from_camera @ self.odom_from_camera.inverse)

    def stepped(self) -> SlewedOutput:
        """Make the whole correction at once."""
        return SlewedOutput(self.odom_from_camera, self.raw_map_from_odom, self.raw_map_from_odom)

    def slewed(self, seconds: float, config: SlewConfig) -> SlewedOutput:
        """Move the camera towards the target at the bounded rates; step if it is too far away for that."""
        current, target = self.map_from_odom @ self.odom_from_camera, self.raw_map_from_odom @ self.odom_from_camera
        distance = float(np.linalg.norm(target.translation - current.translation))
        angle = rotation_angle_deg(current.rotation, target.rotation)
        if distance > config.step_distance or angle > config.step_angle_deg:
            return self.stepped()
        needed_s = max(distance / config.speed, angle / config.turn_rate_deg)
        if needed_s <= seconds:
            return self.stepped()
        moved = current.interpolate(target, max(seconds, 0.0) / needed_s)
        return SlewedOutput(self.odom_from_camera, moved @ self.odom_from_camera.inverse, self.raw_map_from_odom)

    @property
    def remaining(self) -> Array:
        """Error (6,) of the broadcast camera pose against the target."""
        return pose_difference(
            self.raw_map_from_odom @ self.odom_from_camera, self.map_from_odom @ self.odom_from_camera
        )
