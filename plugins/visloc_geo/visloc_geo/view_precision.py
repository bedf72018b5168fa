"""How exactly the views of a reconstruction are known among their neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.uncertainty import (
    effective_variance,
    inverse_information,
    projection_jacobian,
    reprojection_residuals,
)


@dataclass(frozen=True)
class ViewPrecision:
    """Standard deviations of a view's position, in units of the reconstruction, and of its rotation in radians.

    Each along its least certain axis.
    """

    position_sigma: float
    rotation_sigma_rad: float

    @property
    def rotation_sigma_deg(self) -> float:
        """Standard deviation of the rotation in degrees."""
        return math.degrees(self.rotation_sigma_rad)

    def scaled(self, scale: float) -> ViewPrecision:
        """That in a reconstruction of another scale."""
        return ViewPrecision(scale * self.position_sigma, self.rotation_sigma_rad)


@dataclass(frozen=True, eq=False)
class _Observations:
    """What one image sees: pixels (N, 2) of points (N, 3), and the derivative (2 N, 6) of the pixels by the pose."""

    map_from_camera: SE3
    camera: pycolmap.Camera
    pixels: Array
    points: Array
    point_ids: list[int]
    by_pose: Array

    @property
    def by_point(self) -> Array:
        """Derivative (N, 2, 3) of each pixel by its point."""
        return -self.by_pose[:, :3].reshape(-1, 2, 3)


def view_precisions(reconstruction: pycolmap.Reconstruction) -> dict[str, ViewPrecision]:
    """How exactly each view is known if all others are right, by name; without those that nothing determines.

    The inverse of a view's block of the Hessian of bundle adjustment with its points eliminated (Triggs et al. 2000),
    times the variance of the reprojection errors, which keypoints close together share.
    """
    seen = dict(_observations(reconstruction))
    by_point: dict[int, Array] = {}
    for one in seen.values():
        for point_id, jacobian in zip(one.point_ids, one.by_point, strict=True):
            by_point[point_id] = by_point.get(point_id, np.zeros((3, 3))) + jacobian.T @ jacobian
    found = ((name, _precision(one, by_point)) for name, one in seen.items())
    return {name: precision for name, precision in found if precision is not None}


def _observations(reconstruction: pycolmap.Reconstruction) -> Iterator[tuple[str, _Observations]]:
    points3d = reconstruction.points3D
    for image_id in sorted(reconstruction.reg_image_ids()):
        image = reconstruction.images[image_id]
        keypoints = [one for one in image.points2D if one.has_point3D()]
        point_ids = [one.point3D_id for one in keypoints]
        points = np.array([points3d[one].xyz for one in point_ids]).reshape(-1, 3)
        pixels = np.array([one.xy for one in keypoints]).reshape(-1, 2)
        pose, camera = SE3.from_rigid3d(image.cam_from_world()).inverse, reconstruction.cameras[image.camera_id]
        by_pose = projection_jacobian(pose, points, camera)
        yield image.name, _Observations(pose, camera, pixels, points, point_ids, by_pose)


def _precision(seen: _Observations, by_point: Mapping[int, Array]) -> ViewPrecision | None:
    """That of one view; the information of all views on each point is given."""
    of_points = np.linalg.inv(np.array([by_point[one] for one in seen.point_ids]).reshape(-1, 3, 3))
    mixed = np.einsum("npi,npj->nij", seen.by_pose.reshape(-1, 2, 6), seen.by_point)
    information = seen.by_pose.T @ seen.by_pose - np.einsum("nij,njk,nlk->il", mixed, of_points, mixed)
    inverse = inverse_information(information)
    if inverse is None:
        return None
    residuals = reprojection_residuals(seen.map_from_camera, seen.pixels, seen.points, seen.camera)
    covariance = inverse * effective_variance(residuals, seen.pixels, seen.camera, PoseConfig())
    variances = [np.linalg.eigvalsh(covariance[one, one])[-1] for one in (slice(3), slice(3, 6))]
    return ViewPrecision(*np.sqrt(variances).tolist())
