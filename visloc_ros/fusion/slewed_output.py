"""What the outside sees: an ``odom`` frame that never jumps, and a ``map_from_odom`` that moves at bounded rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.fusion.config import SlewConfig
from visloc_ros.fusion.odometry_model.noise_model import pose_difference


@dataclass(frozen=True, eq=False)
class SmoothOutput:
    """Both transforms at one frame: as broadcast, and as the newest anchors would have it (raw)."""

    odom_from_camera: SE3
    map_from_odom: SE3
    raw_map_from_odom: SE3

    @staticmethod
    def begin(map_from_camera: SE3) -> SmoothOutput:
        """Start at the first fix; there the odom frame coincides with the map, and so stands upright with it."""
        return SmoothOutput(map_from_camera, SE3.identity(), SE3.identity())

    def advanced(self, camera_from_camera: SE3, scale: float) -> SmoothOutput:
        """Odometry's next increment, scaled: the scale of later increments never touches earlier ones."""
        step = SE3(camera_from_camera.rotation, scale * camera_from_camera.translation)
        return SmoothOutput(self.odom_from_camera @ step, self.map_from_odom, self.raw_map_from_odom)

    def corrected(self, map_from_camera: SE3) -> SmoothOutput:
        """Take the newest estimate at this frame as the aim; nothing moves yet."""
        return SmoothOutput(self.odom_from_camera, self.map_from_odom, map_from_camera @ self.odom_from_camera.inverse)

    def stepped(self) -> SmoothOutput:
        """Make the whole correction at once."""
        return SmoothOutput(self.odom_from_camera, self.raw_map_from_odom, self.raw_map_from_odom)

    def slewed(self, seconds: float, config: SlewConfig) -> SmoothOutput:
        """Move the camera towards the aim at the bounded rates; step if it is too far away for that."""
        current, aim = self.map_from_odom @ self.odom_from_camera, self.raw_map_from_odom @ self.odom_from_camera
        distance = float(np.linalg.norm(aim.translation - current.translation))
        angle = rotation_angle_deg(current.rotation, aim.rotation)
        if distance > config.step_distance or angle > config.step_angle_deg:
            return self.stepped()
        needed_s = max(distance / config.speed, angle / config.turn_rate_deg)
        if needed_s <= seconds:
            return self.stepped()
        moved = current.interpolate(aim, max(seconds, 0.0) / needed_s)
        return SmoothOutput(self.odom_from_camera, moved @ self.odom_from_camera.inverse, self.raw_map_from_odom)

    @property
    def remaining(self) -> Array:
        """Error (6,) of the broadcast camera pose against the aim."""
        return pose_difference(
            self.raw_map_from_odom @ self.odom_from_camera, self.map_from_odom @ self.odom_from_camera
        )
