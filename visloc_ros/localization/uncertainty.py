"""The uncertainty of a pose: the covariance that its residuals justify."""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.config import PoseConfig

_STEP = 1e-6
_CELLS = 4
_SMEAR_REACH = 0.5  # of the image, at which the errors along a smear have a correlation of 0.6
_MAX_CONDITION = 1e10


def reprojection_residuals(map_from_camera: SE3, pixels: Array, points: Array, camera: pycolmap.Camera) -> Array:
    """Keypoints minus projected points (N, 2) in pixels; infinite behind the camera."""
    residuals = pixels - project(camera, map_from_camera.inverse @ points)
    return np.where(np.isfinite(residuals), residuals, np.inf)


def pose_covariance(
    map_from_camera: SE3, residuals: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig
) -> Array | None:
    """Covariance (6, 6) of ``map_from_camera`` in the order of ``core.types``; None for degenerate points.

    ``residuals`` (N, 2) are those of the points (``reprojection_residuals``).

    The inverse Gauss-Newton Hessian, scaled by the variance of a Cauchy M-estimate (Huber 1981,
    E[psi^2] / E[psi']^2): of errors that are independent from keypoint to keypoint (see ``design_effect``).
    """
    jacobian = projection_jacobian(map_from_camera, points, camera)
    inverse = inverse_hessian(jacobian)
    if inverse is None:
        return None
    return inverse * noise_variance(residuals, config)


def noise_variance(residuals: Array, config: PoseConfig, unknowns: int = 6) -> float:
    """Variance in square pixels that the residuals (N, 2) of an estimated pose justify, by the Cauchy M-estimate.

    ``unknowns`` were estimated by them.
    """
    weights = cauchy_weights(residuals, config)
    psi = residuals * weights[:, None]
    measurements = residuals.size
    variance = float(np.mean(np.square(psi)) / np.mean(np.square(weights)) ** 2)
    return max(variance * measurements / max(measurements - unknowns, 1), config.min_sigma_px**2)


def cauchy_weights(residuals: Array, config: PoseConfig) -> Array:
    """Weights (N,) of residuals (N, 2) in pixels by the Cauchy loss."""
    return np.asarray(1.0 / (1.0 + np.square(residuals).sum(axis=1) / config.loss_scale_px**2))


def effective_variance(residuals: Array, pixels: Array, camera: pycolmap.Camera, config: PoseConfig) -> float:
    """Variance in square pixels that makes keypoints (N, 2) count as much as if they erred independently."""
    return noise_variance(residuals, config) * design_effect(pixels, camera, config.shared_error)


def camera_information(
    map_from_camera: SE3, pixels: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig
) -> Array:
    """Information (2, 2) of one frame on the logarithm of its focal length and a radial coefficient.

    The pose is eliminated (Schur complement), because it compensates most of a wrong focal length: the remaining
    information comes from differences of the points' depths. Zero where even the pose is not determined.
    """
    residuals = reprojection_residuals(map_from_camera, pixels, points, camera)
    by_pose = projection_jacobian(map_from_camera, points, camera)
    covariance = inverse_hessian(by_pose)
    if covariance is None:
        return np.zeros((2, 2))
    by_camera = _jacobian_by_camera(map_from_camera, points, camera)
    mixed = by_pose.T @ by_camera
    information = by_camera.T @ by_camera - mixed.T @ covariance @ mixed
    return np.asarray(information / effective_variance(residuals, pixels, camera, config))


def covariance_by_focal_length(
    map_from_camera: SE3, points: Array, camera: pycolmap.Camera, focal_sigma: float
) -> Array:
    """Covariance (6, 6) of a pose by the relative standard deviation of the focal length that it was computed with.

    A longer focal length moves the camera away from the scene; the pose that explains the same pixels with another
    focal length is found to first order.
    """
    by_pose = projection_jacobian(map_from_camera, points, camera)
    by_focal_length = _jacobian_by_camera(map_from_camera, points, camera)[:, 0]
    shift = np.linalg.lstsq(by_pose, -by_focal_length, rcond=None)[0] * focal_sigma
    return np.outer(shift, shift)


def covariance_by_principal_point(
    map_from_camera: SE3, points: Array, camera: pycolmap.Camera, sigma_px: float
) -> Array:
    """Covariance (6, 6) of a pose by the standard deviation of the principal point along an axis.

    Another one turns the camera, to first order; that a single frame hardly shows.
    """
    by_pose = projection_jacobian(map_from_camera, points, camera)
    by_point = np.tile(np.eye(2), (len(points), 1))
    shifts = np.linalg.lstsq(by_pose, -by_point, rcond=None)[0] * sigma_px
    return np.asarray(shifts @ shifts.T)


def covariance_by_smear(
    map_from_camera: SE3, pixels: Array, points: Array, camera: pycolmap.Camera, smear: Array
) -> Array:
    """Covariance (6, 6) of a pose by inliers (N, 2) whose keypoints lie anywhere along a smear of covariance (2, 2).

    Some keypoints are found at one end of their streak, some at the other. The inliers are those that agree on a pose,
    so their errors are correlated over much of the image, and residuals do not show them. The covariance of the
    estimate sums over pairs of cells (a cluster-robust one, Liang and Zeger 1986).
    """
    gain = np.linalg.pinv(projection_jacobian(map_from_camera, points, camera)).reshape(6, -1, 2)
    of_cells = np.zeros((_CELLS**2, 6, 2))
    np.add.at(of_cells, _cells(pixels, camera), gain.transpose(1, 0, 2))
    return np.asarray(np.einsum("aix,ab,xy,bjy->ij", of_cells, _CORRELATION, smear, of_cells, optimize=True))


def focal_length_step(
    map_from_camera: SE3, residuals: Array, points: Array, camera: pycolmap.Camera, config: PoseConfig
) -> float:
    """How far one step of least squares changes the logarithm of the focal length, if it is freed with the pose.

    ``residuals`` (N, 2) are those of the points, weighted as for the Cauchy loss (Holland and Welsch 1977).
    """
    by_focal_length = _jacobian_by_camera(map_from_camera, points, camera)[:, :1]
    jacobian = np.concatenate((projection_jacobian(map_from_camera, points, camera), by_focal_length), axis=1)
    weighted = jacobian * np.repeat(cauchy_weights(residuals, config), 2)[:, None]
    step = np.linalg.lstsq(weighted.T @ jacobian, weighted.T @ residuals.ravel(), rcond=None)[0]
    return float(step[-1])


def inverse_hessian(jacobian: Array) -> Array | None:
    """Inverse (6, 6) of the Gauss-Newton Hessian of a Jacobian (2 N, 6); None where it is singular."""
    return inverse_information(jacobian.T @ jacobian)


def inverse_information(hessian: Array) -> Array | None:
    """Inverse of an information matrix; None where it is singular, whichever the units of its rows."""
    scale = np.sqrt(np.diag(hessian))
    with np.errstate(invalid="ignore", divide="ignore"):
        normalised = hessian / np.outer(scale, scale)
    if not np.all(np.isfinite(normalised)):
        return None
    eigenvalues = np.linalg.eigvalsh(normalised)
    if eigenvalues[-1] > _MAX_CONDITION * eigenvalues[0]:
        return None
    inverse = np.linalg.inv(normalised) / np.outer(scale, scale)
    return np.asarray((inverse + inverse.T) / 2.0)


def design_effect(pixels: Array, camera: pycolmap.Camera, shared_error: float) -> float:
    """How many times larger the variance is because keypoints close together err together (Kish 1965).

    Errors of the map and of the calibration do not average out over the many keypoints of an image region;
    ``shared_error`` is the correlation within a cell of a coarse grid.
    """
    counts = np.bincount(_cells(pixels, camera))
    return 1.0 + shared_error * (float(np.square(counts).sum()) / len(pixels) - 1.0)


def _cells(pixels: Array, camera: pycolmap.Camera) -> NDArray[np.intp]:
    """Cell (N,) of a coarse grid that each pixel is in, column by column."""
    cell = np.clip(pixels / [camera.width, camera.height] * _CELLS, 0, _CELLS - 1).astype(np.intp)
    return np.asarray(cell[:, 0] * _CELLS + cell[:, 1])


def _correlation_along_smear() -> Array:
    """Correlation (C, C) of the errors of cells along a smear, by their distance."""
    places = np.stack(np.divmod(np.arange(_CELLS**2), _CELLS), axis=1) / _CELLS
    squared = np.square(places[:, None] - places).sum(axis=2)
    return np.asarray(np.exp(-0.5 * squared / _SMEAR_REACH**2))


def projection_jacobian(map_from_camera: SE3, points: Array, camera: pycolmap.Camera) -> Array:
    """Derivative (2 N, 6) of projected points by the pose, in the tangent of ``core.types``."""
    from_camera = points - map_from_camera.translation
    derivative = pixel_by_point(from_camera @ map_from_camera.rotation, camera)
    by_point = derivative.reshape(-1, 3) @ map_from_camera.rotation.T  # in the map's axes
    a, b, c = by_point.reshape(-1, 2, 3).transpose(2, 0, 1)
    x, y, z = from_camera.T[:, :, None]
    by_rotation = np.stack((b * z - c * y, c * x - a * z, a * y - b * x), axis=2)  # by_point @ skew(from_camera)
    return np.concatenate((-by_point, by_rotation.reshape(-1, 3)), axis=1)


def _jacobian_by_camera(map_from_camera: SE3, points: Array, camera: pycolmap.Camera) -> Array:
    """Derivative (2 N, 2) of projected points by the logarithm of the focal length and by a radial coefficient."""
    in_camera = map_from_camera.inverse @ points
    by_focal_length = project(camera, in_camera) - [camera.principal_point_x, camera.principal_point_y]
    on_plane = in_camera[:, :2] / in_camera[:, 2:]
    by_radial = camera.mean_focal_length() * on_plane * np.square(on_plane).sum(axis=1, keepdims=True)
    return np.stack((by_focal_length, by_radial), axis=2).reshape(-1, 2)


def pixel_by_point(in_camera: Array, camera: pycolmap.Camera) -> Array:
    """Derivative (N, 2, 3) of the projection by the point in the camera frame; NaN beside or behind the camera.

    By central differences on the plane at depth 1: points on one ray have one pixel.
    """
    is_ahead = in_camera[:, 2] > _STEP * np.linalg.norm(in_camera, axis=1)
    depth = np.where(is_ahead, in_camera[:, 2], np.nan)
    on_plane = np.column_stack((in_camera[:, :2] / depth[:, None], np.ones(len(in_camera))))
    step = _STEP * np.linalg.norm(on_plane, axis=1)[:, None]
    steps = step * np.eye(3)[:2, None]
    ahead, back = project(camera, np.stack((on_plane + steps, on_plane - steps))).reshape(2, 2, -1, 2)
    by_plane = ((ahead - back) / (2.0 * step)).transpose(1, 2, 0)
    along_ray = by_plane @ on_plane[:, :2, None]
    return np.concatenate((by_plane, -along_ray), axis=2) / depth[:, None, None]


_CORRELATION = _correlation_along_smear()
