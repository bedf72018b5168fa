"""The lens distortion missing in a nominal calibration, learnt from the window: two radial coefficients.

A lens with a nominal calibration without distortion may bend the border of the image by some pixels. The scale then
drifts, because one rigid scene no longer fits all views. The residuals of bundle adjustment show the bend. The focal
length is not estimated: the bias of the tracks hides it (it would be off by 1 % in well calibrated cameras).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pycolmap

from visloc_ros.core.geometry import Array
from visloc_ros.odometry.klt.bundle import GAUGE_DAMPING, HUBER_PX, BundleProblem, ReducedCameraSystem, adjust
from visloc_ros.odometry.klt.images import PreparedImage
from visloc_ros.odometry.klt.tracking import Features, measure
from visloc_ros.tracking.pixels import Pixels

log = logging.getLogger(__name__)

_RADIAL_MODELS = {"SIMPLE_PINHOLE": "RADIAL", "SIMPLE_RADIAL": "RADIAL", "PINHOLE": "OPENCV"}
_FIRST_COEFFICIENT = {"RADIAL": 3, "OPENCV": 4, "FULL_OPENCV": 4}
_NUM_PARAMS = {"RADIAL": 5, "OPENCV": 8, "FULL_OPENCV": 12}
_SIGMA = 0.05  # of the coefficients of a nominal calibration
_ROUNDS, _ITERATIONS = 3, 3
_CONVERGED = 0.3  # of a standard deviation
_STEP = 2e-3  # of the numerical derivative
_ROUNDING = 1e-9
_FIRST, _SHORT, _LONG = 8, 20, 60  # keyframes until the first look; over which the lens is looked at
_GROWTH, _GROWTH_LEARNT, _GROWTH_LATE = 1.35, 1.2, 2.0  # times the keyframes until the next look
_MOST_WAITING = 25  # views that may pass during a look
_LEAST_BEND_PX, _LEAST_CHI2 = 0.35, 90.0  # the bias of tracks feigns up to 0.25 px, chi2 110, in calibrated cameras


@dataclass(frozen=True, eq=False)
class LensProblem:
    """A bundle problem with the pixels (N, 2) behind its rays, their camera, and the change (2,) already in it.

    ``turns`` (N, 3) are those of the cameras while the images were read.
    """

    bundle: BundleProblem
    pixels: Pixels
    camera: pycolmap.Camera
    radial: Array
    turns: Array | None = None

    def seen_with(self, radial: Array, bundle: BundleProblem) -> BundleProblem | None:
        """The bundle with the rays of a lens with another change (2,); None where it does not describe all pixels."""
        seen = measure(bent(self.camera, radial - self.radial), np.arange(len(self.pixels)), self.pixels, self.turns)
        if len(seen) < len(self.pixels):
            return None
        return replace(bundle, rays=seen.rays, pixels_per_ray=seen.pixels_per_ray)


class Lens:
    """The lens in use: ``radial`` (2,) is added to the calibration's first two radial coefficients."""

    def __init__(self) -> None:
        self.radial: Array = np.zeros(2)

    @property
    def is_learnt(self) -> bool:
        """Whether the calibration was found to be wrong."""
        return bool(np.any(self.radial))

    def learn(self, radial: Array) -> Array:
        """Take the learnt coefficients; returns their difference (2,) from those before."""
        log.info("the calibration lacks radial coefficients of about %.3f, %.3f: calibrate the camera", *radial)
        change, self.radial = radial - self.radial, radial
        return change

    def through(self, view: PreparedImage) -> PreparedImage:
        """The view with the camera as estimated so far."""
        return replace(view, camera=bent(view.camera, self.radial)) if self.is_learnt else view


class LensSchedule:
    """When the lens is estimated next, and over how many keyframes.

    Once the calibration is known to be wrong, more often and over longer paths, which show the rest of the bend; but
    neither so often nor so long that the window, which waits for it, falls behind a fast camera or a slow computer.
    """

    def __init__(self) -> None:
        self.next_number, self.num_keyframes = _FIRST, _SHORT

    def advance(self, number: int, views_waited: int, is_learnt: bool) -> None:
        """A look is done at the keyframe of this number; the window has waited for this number of views."""
        if views_waited > _MOST_WAITING:
            self.next_number, self.num_keyframes = int(_GROWTH_LATE * number), max(_SHORT, self.num_keyframes // 2)
            return
        self.next_number = int((_GROWTH_LEARNT if is_learnt else _GROWTH) * number)
        if is_learnt:
            self.num_keyframes = min(_LONG, 2 * self.num_keyframes)


def is_nominal(camera: pycolmap.Camera, radial: Array) -> bool:
    """Whether a camera with a change (2,) is of a radial model but was calibrated without any distortion."""
    model = _RADIAL_MODELS.get(camera.model.name, camera.model.name)
    if model not in _FIRST_COEFFICIENT:
        return False
    return bool(np.abs(bent(camera, -radial).params[_FIRST_COEFFICIENT[model] :]).max() < _ROUNDING)


def bent(camera: pycolmap.Camera, change: Array) -> pycolmap.Camera:
    """The camera, of a radial model, with a change (2,) of its first two radial coefficients."""
    model = _RADIAL_MODELS.get(camera.model.name, camera.model.name)
    params = np.zeros(_NUM_PARAMS[model])
    params[: len(camera.params)] = camera.params
    first = _FIRST_COEFFICIENT[model]
    params[first : first + 2] += change
    return pycolmap.Camera(model=model, width=camera.width, height=camera.height, params=params)


def seen_through(camera: pycolmap.Camera, features: Features, turn: Array | None) -> Features:
    """The same features as another camera sees them, which turns (3,) while the image is read."""
    return measure(camera, features.ids, features.pixels, turn)


def learn_lens(problem: LensProblem) -> tuple[BundleProblem, Array] | None:
    """Find the change (2,) that fits the views, and the bundle adjusted to it; None if the present lens suffices.

    Gauss-Newton on the coefficients; poses and points follow every change of them (variable projection).
    """
    radial, bundle, covariance = problem.radial, problem.bundle, np.eye(2)
    for _ in range(_ROUNDS):
        seen = problem.seen_with(radial, bundle)
        if seen is None:
            return None
        bundle = adjust(seen, _ITERATIONS)
        found = _step(problem, radial, bundle)
        if found is None:
            return None
        step, covariance = found
        radial = radial + step
        if step @ np.linalg.solve(covariance, step) < _CONVERGED**2:
            break
    if not _is_evident(problem, radial - problem.radial, covariance):
        return None
    seen = problem.seen_with(radial, bundle)
    return None if seen is None else (adjust(seen), radial)


def _is_evident(problem: LensProblem, change: Array, covariance: Array) -> bool:
    """Whether a change (2,) is worth making; once it is known that the calibration is wrong, every one is."""
    if np.any(problem.radial):
        return True
    chi2 = float(change @ np.linalg.solve(covariance, change))
    return chi2 > _LEAST_CHI2 and _bend_px(problem, change) > _LEAST_BEND_PX


def _bend_px(problem: LensProblem, change: Array) -> float:
    """How far a change (2,) moves pixels near the border (their 95th percentile), beyond what a zoom would."""
    radii = np.linalg.norm(problem.bundle.rays, axis=1)
    moved = radii**3 * change[0] + radii**5 * change[1]
    unlike_zoom = moved - radii * (moved @ radii) / (radii @ radii)
    return float(np.percentile(np.abs(unlike_zoom) * problem.bundle.pixels_per_ray, 95.0))


def _step(problem: LensProblem, radial: Array, bundle: BundleProblem) -> tuple[Array, Array] | None:
    """Step (2,) of the coefficients, and their covariance (2, 2), in which a landmark's track counts once.

    Poses and points follow to first order (Kaufman, BIT 15, 1975), which costs one elimination of the points.
    """
    equations = ReducedCameraSystem(bundle)
    equations.linearise(bundle, HUBER_PX)
    equations.eliminate(GAUGE_DAMPING)
    residuals, changes = equations.residuals, []
    for direction in np.eye(2):
        seen = problem.seen_with(radial + _STEP * direction, bundle)
        if seen is None:
            return None
        changes.append(equations.weights * _finite(seen.residuals() - bundle.residuals()).T / _STEP)
    jacobian = equations.after_adjustment(np.stack(changes))
    variance = max(float(np.mean(np.square(residuals))), 1e-12)
    hessian = np.einsum("ian,jan->ij", jacobian, jacobian) / variance + np.eye(2) / _SIGMA**2
    pulls = np.zeros((len(bundle.points), 2))
    np.add.at(pulls, bundle.point_rows, np.einsum("ian,an->ni", jacobian, residuals) / variance)
    inverse = np.linalg.inv(hessian)
    step = -inverse @ (pulls.sum(axis=0) + radial / _SIGMA**2)
    return step, inverse @ (pulls.T @ pulls + np.eye(2) / _SIGMA**2) @ inverse


def _finite(residuals: Array) -> Array:
    return np.where(np.isfinite(residuals), residuals, 0.0)
