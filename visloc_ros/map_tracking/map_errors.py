"""How far the map contradicts itself: what its images' poses are off by, judged by the points that others place.

Such errors are common to all points that a camera sees, so they leave no trace in the residuals of a pose: the map is
where they show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.localization.uncertainty import projection_jacobian
from visloc_ros.localization.view_change import Viewpoints

_SAMPLED_IMAGES = 50  # by which a map is judged, each with the one most like it
_FEWEST_POINTS = 12
_ITERATIONS = 8
_CAUCHY = 2.0  # median errors at which a keypoint has lost half its weight


@dataclass(frozen=True, eq=False)
class PoseErrors:
    """Covariances (6, 6), as in ``core.types`` but in camera axes, of what the map does to a camera's pose.

    ``here`` is of its error at any place, ``between`` of the difference of those at two places from one to the other of
    which the view changes by ``reach``, in radians as ``Viewpoints`` counts them.
    """

    here: Array
    between: Array
    reach: float

    def at(self, rotation: Array) -> Array:
        """Covariance (6, 6) of the error at a place, in map axes, of a camera turned by ``rotation``."""
        return _turned(self.here, rotation)

    def over(self, rotation: Array, change: float) -> Array:
        """Covariance (6, 6) of how much the error differs from that at a place from which the view has changed.

        It wanders off with the way, until two places have nothing in common.
        """
        most = 2.0 * float(np.trace(np.linalg.pinv(self.between) @ self.here)) / 6.0
        return np.asarray(min(most, change / self.reach) * _turned(self.between, rotation))


def measure_pose_errors(map_: Map) -> PoseErrors:
    """Judge a map by its images, or by some of them where there are many."""
    images = [image for image in map_.images if len(_seen(image)) >= _FEWEST_POINTS]
    if len(images) < 2:
        return PoseErrors(np.zeros((6, 6)), np.zeros((6, 6)), 1.0)
    views = Viewpoints.of(images, map_.points)
    observers = np.bincount(np.concatenate([_seen(image) for image in images]), minlength=len(map_.points))
    here, between, reaches = [], [], []
    for index in range(0, len(images), max(1, len(images) // _SAMPLED_IMAGES)):
        changes = views.changes(images[index].map_from_camera)
        changes[index] = np.inf
        neighbour = int(np.argmin(changes))
        errors = [_pose_error(images[which], map_.points, observers) for which in (index, neighbour)]
        here.append(errors[0])
        between.append(errors[0] - errors[1])
        reaches.append(changes[neighbour])
    return PoseErrors(_covariance(here), _covariance(between), max(float(np.median(reaches)), 1e-6))


def _covariance(errors: list[Array]) -> Array:
    stacked = np.array(errors)
    return np.asarray(stacked.T @ stacked / len(stacked))


def _turned(covariance: Array, rotation: Array) -> Array:
    turn = np.kron(np.eye(2), rotation)
    return np.asarray(turn @ covariance @ turn.T)


def _seen(image: MapImage) -> NDArray[np.int32]:
    return np.asarray(image.point_rows[image.point_rows != NO_POINT])


def _pose_error(image: MapImage, points: Array, observers: NDArray[np.intp]) -> Array:
    """The step (6,) in camera axes that fits an image's pose to its points; zero where too few tell it.

    An image pulls its own points along: seen by n images, one is off by n / (n - 1) of its residual from where the
    others alone would put it.
    """
    shared = observers[_seen(image)] > 1
    pose, rows = image.map_from_camera, _seen(image)[shared]
    projected = project(image.camera, pose.inverse @ points[rows])
    residuals = image.features.keypoints[image.point_rows != NO_POINT][shared] - projected
    residuals = residuals * (observers[rows] / (observers[rows] - 1.0))[:, None]
    usable = np.isfinite(residuals).all(axis=1)
    if usable.sum() < _FEWEST_POINTS:
        return np.zeros(6)
    jacobian = projection_jacobian(pose, points[rows[usable]], image.camera).reshape(-1, 2, 6)
    step = _robust_step(jacobian, residuals[usable]).reshape(2, 3)
    return np.asarray((step @ pose.rotation).ravel())


def _robust_step(jacobian: Array, residuals: Array) -> Array:
    """The step (6,) that explains residuals (N, 2) best, by a Jacobian (N, 2, 6); wrong ones lose their weight."""
    step = np.zeros(6)
    for _ in range(_ITERATIONS):
        left = residuals - jacobian @ step
        squares = np.square(left).sum(axis=1)
        weights = 1.0 / (1.0 + squares / (_CAUCHY**2 * max(float(np.median(squares)), 1e-12)))
        weighted = (weights[:, None, None] * jacobian).reshape(-1, 6)
        step = step + np.linalg.lstsq(weighted.T @ jacobian.reshape(-1, 6), weighted.T @ left.ravel(), rcond=None)[0]
    return step
