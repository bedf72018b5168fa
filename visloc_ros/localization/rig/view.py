"""What one camera of a rig sees of the map: its correspondences, and the motion of the rig since its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import lever_jacobian, perturbed, turn_covariance
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.uncertainty import cauchy_weights, projection_jacobian, reprojection_residuals

_STEPS = 6  # from a motion off by some degrees
_SURE = 0.999  # that a motion is not off by more


@dataclass(frozen=True, eq=False)
class RigView:
    """Correspondences of one camera of a rig: pixels (N, 2) and the map points (N, 3) that they may show.

    ``rig_from_camera`` takes the camera, at its image, to the rig at the rig's stamp. ``motion_covariance`` (6, 6) is
    that of the rig's motion in between, about the axes of the rig; None where there was none.
    """

    name: str
    rig_from_camera: SE3
    camera: pycolmap.Camera
    pixels: Array
    points: Array
    motion_covariance: Array | None = None

    @property
    def has_moved(self) -> bool:
        """Whether the image is of another time than the rig's stamp."""
        return self.motion_covariance is not None

    def residuals(self, map_from_rig: SE3) -> Array:
        """Keypoints minus projected points (N, 2) in pixels, for the motion as given; infinite behind the camera."""
        return reprojection_residuals(map_from_rig @ self.rig_from_camera, self.pixels, self.points, self.camera)

    def inliers(self, map_from_rig: SE3, config: PoseConfig) -> NDArray[np.bool_]:
        """Which correspondences (N,) agree with a pose, for the likeliest motion."""
        errors = np.linalg.norm(self.residuals(self.seen_from(map_from_rig, config)), axis=1)
        return np.asarray(errors <= config.max_error_px)

    def jacobian(self, map_from_rig: SE3, points: Array) -> Array:
        """Derivative (2 N, 6) of projected points by the pose of the rig, in the tangent of ``core.types``."""
        lever = map_from_rig.rotation @ self.rig_from_camera.translation
        of_camera = projection_jacobian(map_from_rig @ self.rig_from_camera, points, self.camera)
        return np.asarray(of_camera @ lever_jacobian(lever))

    def motion_in_map(self, map_from_rig: SE3) -> Array | None:
        """Covariance (6, 6) that the motion adds to a pose, about the axes of the map; None where there was none."""
        if self.motion_covariance is None:
            return None
        return turn_covariance(self.motion_covariance, map_from_rig.rotation)

    def seen_from(self, map_from_rig: SE3, config: PoseConfig) -> SE3:
        """The pose with the error of the motion that explains the points best (Gauss-Newton, Cauchy loss).

        It stays within what the motion's covariance allows.
        """
        motion = self.motion_in_map(map_from_rig)
        if motion is None or len(self.pixels) == 0:
            return map_from_rig
        values, axes = np.linalg.eigh(motion)
        root = axes * np.sqrt(np.maximum(values, 0.0))  # some motions, or all, may be known exactly
        error, variance = np.zeros(6), config.loss_scale_px**2  # in standard deviations, and of a pixel
        for _ in range(_STEPS):
            pose = perturbed(map_from_rig, root @ error)
            residuals = self.residuals(pose)
            ahead = np.isfinite(residuals).all(axis=1)
            residuals, jacobian = residuals[ahead], self.jacobian(pose, self.points[ahead]) @ root
            weighted = jacobian * np.repeat(cauchy_weights(residuals, config), 2)[:, None]
            gradient = weighted.T @ residuals.ravel() - variance * error
            error = error + np.linalg.solve(weighted.T @ jacobian + variance * np.eye(6), gradient)
            error = error / np.sqrt(max(1.0, float(error @ error) / chi_square_quantile(_SURE, 6)))
        return perturbed(map_from_rig, root @ error)
