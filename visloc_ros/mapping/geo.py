"""Scale and axes of a reconstruction from positions in WGS 84: metres, x east, y north, z up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pycolmap
from numpy.typing import NDArray
from scipy.optimize import least_squares

from visloc_ros.core.errors import MapError
from visloc_ros.core.geo_reference import HEIGHT_FACTOR
from visloc_ros.core.geometry import Array, Sim3, nearest_rotation
from visloc_ros.core.similarity_covariance import similarity_covariance
from visloc_ros.core.tangent import perturbed_similarity
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.mapping.gravity import Up
from visloc_ros.sources.measurements import GeoPosition

_MIN_POSITIONS = 4
_MIN_INLIER_SHARE = 0.5
_INLIER_DEVIATIONS = 3.0
_HYPOTHESES = 200
_SIZE = 7  # rotation (3), logarithm of the scale, translation (3)
_MEDIAN_DISTANCE = 0.888  # of root mean squares of three standard normal deviates
_LEAST_FACTOR = 1e-3  # of the assumed deviation


@dataclass(frozen=True, eq=False)
class GeoFit:
    """A similarity to the axes east, north, up at ``origin``, and its standard deviations.

    ``scale_error`` is relative. ``axes_error_deg`` is that of the least certain axis, ``tilt_error_deg`` that of z by
    the positions alone. ``outliers`` are images by name that are further from their positions than these allow, with
    the distance in metres.
    """

    map_from_sfm: Sim3
    origin: GeoPosition
    scale_error: float
    axes_error_deg: float
    tilt_error_deg: float
    num_positions: int
    outliers: Mapping[str, float]


def local_positions(positions: Sequence[GeoPosition], origin: GeoPosition) -> Array:
    """Metres east, north and up (N, 3) of an origin (EPSG methods 9602 and 9837).

    Missing heights are set to the mean of the others.
    """
    geodetic = _geodetic([*positions, origin])
    return EnuFrame(*geodetic[-1]).from_geodetic(geodetic[:-1])


def middle_position(positions: Sequence[GeoPosition]) -> GeoPosition:
    """The position closest to the median of all, of those with a height if there are any."""
    candidates = [position for position in positions if position.altitude is not None] or list(positions)
    points = pycolmap.GPSTransform().ellipsoid_to_ecef(_geodetic(candidates))
    return candidates[int(np.argmin(np.linalg.norm(points - np.median(points, axis=0), axis=1)))]


def _geodetic(positions: Sequence[GeoPosition]) -> Array:
    heights = [position.altitude for position in positions if position.altitude is not None]
    height = float(np.mean(heights)) if heights else 0.0
    return np.array(
        [(one.latitude, one.longitude, height if one.altitude is None else one.altitude) for one in positions]
    )


def fit_to_positions(
    sfm_centres: Mapping[str, Array], positions: Mapping[str, GeoPosition], up: Up | None, sigma: float
) -> GeoFit:
    """Fit camera centres to positions, robustly; the residuals of those that do not state their error show it.

    ``sigma`` (m) is assumed of these before. ``up`` in the frame of the centres, weighted by its error, fixes the
    rotation that a straight path leaves open. The best of some random triples (RANSAC) starts a refinement under a
    Cauchy loss, and least squares over the inliers follows. The errors are those of positions whose errors neighbours
    share, as far as the residuals show it (``core.shared_errors``); the drift of a receiver over the whole path is
    larger. The origin is the middle one of the positions. Raises MapError where they are too few, do not move, or
    contradict the reconstruction.
    """
    names = [name for name in sfm_centres if name in positions]
    if len(names) < _MIN_POSITIONS:
        raise MapError(f"{len(names)} registered images have a GPS position, {_MIN_POSITIONS} are needed")
    used = [positions[name] for name in names]
    origin = middle_position(used)
    stated = np.array([position.sigma or np.nan for position in used])
    problem = _Problem.make(
        np.array([sfm_centres[name] for name in names]),
        local_positions(used, origin),
        np.where(np.isnan(stated), sigma, stated),
        up,
    )
    return _solve(problem, np.isnan(stated), origin, names)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Centres (N, 3) made small about zero, positions (N, 3) and their deviations (N, 3), up and its deviation."""

    centres: Array
    positions: Array
    sigmas: Array
    up: Array
    up_sigma: float
    sfm_mean: Array
    sfm_size: float

    @staticmethod
    def make(centres: Array, positions: Array, sigma: Array, up: Up | None) -> _Problem:
        mean = centres.mean(axis=0)
        size = float(np.sqrt(np.mean(np.square(centres - mean).sum(axis=1))))
        if size == 0 or np.ptp(positions, axis=0).max() == 0:
            raise MapError("the GPS positions or the camera do not move: the scale cannot be found from them")
        sigmas = sigma[:, None] * np.array([1.0, 1.0, HEIGHT_FACTOR])
        direction = np.array([0.0, 0.0, 1.0]) if up is None else up.direction
        up_sigma = np.inf if up is None else np.radians(up.error_deg)
        return _Problem((centres - mean) / size, positions, sigmas, direction, float(up_sigma), mean, size)

    def start(self, rows: NDArray[np.integer[Any]]) -> Sim3 | None:
        """Closed-form fit to some rows: up counts as one more direction, which settles a straight line."""
        centres, positions = self.centres[rows], self.positions[rows]
        centres_mean, positions_mean = centres.mean(axis=0), positions.mean(axis=0)
        x, y = centres - centres_mean, positions - positions_mean
        scale = float(np.sqrt(np.sum(y**2) / max(np.sum(x**2), 1e-300)))
        weight = np.sum(y**2) * max(1e-6, min(1.0, np.radians(1.0) / self.up_sigma))
        rotation = nearest_rotation(scale * y.T @ x + weight * np.outer([0.0, 0.0, 1.0], self.up))
        return Sim3(scale, rotation, positions_mean - scale * rotation @ centres_mean) if scale > 0 else None

    def residuals(self, fit: Sim3) -> Array:
        """Deviations (N, 3) of the fit in standard deviations."""
        return np.asarray((fit @ self.centres - self.positions) / self.sigmas)

    def distances(self, fit: Sim3) -> Array:
        """Root mean squares (N,) of the deviations, 1 where they are as expected."""
        return np.asarray(np.sqrt(np.mean(np.square(self.residuals(fit)), axis=1)))

    def up_residuals(self, fit: Sim3) -> Array:
        """Deviation (3,) of the fit's up from z in standard deviations."""
        return np.asarray((fit.rotation @ self.up - [0.0, 0.0, 1.0]) / self.up_sigma)

    def to_sfm(self, fit: Sim3) -> Sim3:
        """The fit for the centres as they were given."""
        scale = fit.scale / self.sfm_size
        return Sim3(scale, fit.rotation, fit.translation - scale * fit.rotation @ self.sfm_mean)


def _solve(problem: _Problem, unstated: NDArray[np.bool_], origin: GeoPosition, names: Sequence[str]) -> GeoFit:
    everything = np.ones(len(problem.centres), dtype=bool)
    robust = _refine(problem, _best_start(problem), everything, "cauchy")
    num_outliers = int(np.sum(problem.distances(robust) > _INLIER_DEVIATIONS))
    if num_outliers > (1 - _MIN_INLIER_SHARE) * len(names):
        raise MapError(
            f"{num_outliers} of {len(names)} GPS positions contradict the reconstruction: raise frame.gps_sigma "
            "if they are that inexact"
        )
    if unstated.sum() >= _MIN_POSITIONS:
        problem = _with_estimated_sigma(problem, robust, unstated)
        robust = _refine(problem, robust, everything, "cauchy")
    inliers = problem.distances(robust) <= _INLIER_DEVIATIONS
    fit = _refine(problem, robust, inliers, "linear")
    used = (fit @ problem.centres)[inliers], problem.positions[inliers], problem.sigmas[inliers]
    covariance = similarity_covariance(*used, problem.up_sigma)
    by_positions = similarity_covariance(*used, np.inf)
    distances = np.linalg.norm(fit @ problem.centres - problem.positions, axis=1)
    outliers = {names[row]: float(distances[row]) for row in np.flatnonzero(~inliers).tolist()}
    return GeoFit(
        problem.to_sfm(fit),
        origin,
        float(np.sqrt(covariance[6, 6])),
        _angle_deg(covariance[3:6, 3:6]),
        _angle_deg(by_positions[3:5, 3:5]),
        len(names),
        outliers,
    )


def _refine(problem: _Problem, begin: Sim3, rows: NDArray[np.bool_], loss: Literal["cauchy", "linear"]) -> Sim3:
    """The fit by least squares over some rows and up."""

    def residuals(step: Array) -> Array:
        fit = _moved(begin, step)
        return np.concatenate([problem.residuals(fit)[rows].ravel(), problem.up_residuals(fit)])

    result = least_squares(residuals, np.zeros(_SIZE), loss=loss, x_scale="jac")
    return _moved(begin, result.x)


def _best_start(problem: _Problem) -> Sim3:
    rng = np.random.default_rng(0)
    count = len(problem.centres)
    triples = [rng.choice(count, 3, replace=False) for _ in range(_HYPOTHESES)]
    starts = [problem.start(rows) for rows in (np.arange(count), *triples)]
    costs = [
        np.inf if fit is None else float(np.sum(np.log1p(np.square(problem.residuals(fit)).sum(axis=1))))
        for fit in starts
    ]
    best = starts[int(np.argmin(costs))]
    if best is None:
        raise MapError("the GPS positions do not move: the scale cannot be found from them")
    return best


def _moved(fit: Sim3, step: Array) -> Sim3:
    return perturbed_similarity(fit, np.concatenate([step[4:], step[:4]]))


def _with_estimated_sigma(problem: _Problem, fit: Sim3, unstated: NDArray[np.bool_]) -> _Problem:
    """The problem with the deviations of unstated positions that most residuals of a robust fit show."""
    shown = float(np.median(problem.distances(fit)[unstated])) / _MEDIAN_DISTANCE
    factors = np.where(unstated, max(shown, _LEAST_FACTOR), 1.0)
    return replace(problem, sigmas=problem.sigmas * factors[:, None])


def _angle_deg(covariance: NDArray[np.floating[Any]]) -> float:
    """Largest standard deviation of a rotation in degrees; 180 where it is unknown."""
    return min(180.0, float(np.degrees(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))))
