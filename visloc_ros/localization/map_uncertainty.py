"""Map uncertainty: a map's own error, estimated by leave-one-out validation of its images.

The residuals of a pose show how well it fits the points of the map, not the error that these points share: inexact
reference poses and a wrong calibration warp a map, and all points seen from one place share the error. To estimate how
well an image of another walk is localized, images of the map are left out with their neighbours until their nearest
view is as far away as that image's (nearest neighbour distance matching, Mila et al. 2022). The error is modelled as a
random walk over the view change to the nearest image. The error of images that are left out alone is that of their
poses; its change from an image to the nearest one is that of the map from place to place; both beyond what the noise of
an image's own keypoints explains, which is no part of the map. Poses that were estimated
from the images err together with these, by which no image that is left out differs: their bundle adjustment shows it
(``map_adjustment.py``).

How far keypoints close together err together is a property of the map, too. In one whose images stand where they claim
they hardly do; in one that is warped, or seen with a wrong calibration, they do entirely, and more than their residuals
show. The factor is that by which the images that are left out are foretold best. Where their poses were estimated,
these bend with the points, and hide it: then it is one, as if all keypoints of a cell erred as one.

The estimate is a part of a map's manifest, made when the map is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import UNCERTAINTY_VERSION, UncertaintyInfo
from visloc_ros.core.map import Map
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import turn_covariance
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.leave_one_out import LeaveOneOut, LeaveOneOutResult
from visloc_ros.localization.map_adjustment import adjustment_covariances
from visloc_ros.localization.view_change import Viewpoints, typical_depth

_MIN_TRIALS = 20
_SHARE_WITHIN = 0.9
_SHARE_SEEN = 0.975  # that many of 40 images, to be 95 % sure of the share above: a tolerance bound (Wilks 1941)
_SHARE_VALIDATED = 0.95  # of the view changes: the largest ones are few
# Tenths of the standard deviation; no less than 0.4, as images of another camera, or in another light, err together by
# more than the map's own do (results/consistency.md).
_SHARED_ERRORS = (np.linspace(0.4, 3.0, 27) ** 2).tolist()
_RATES = (1e-12, 1.0)
_LEAST_CHANGE = 1e-6


@dataclass(frozen=True, eq=False)
class MapUncertainty:
    """The uncertainty of a map. Covariances are (6, 6), in the order and the axes of ``core.types``."""

    info: UncertaintyInfo
    map: Map

    def prepare(self) -> None:
        """Prepare ``of_pose`` now: in a large map that takes part of a second."""
        _ = self._views

    def of_pose(self, map_from_camera: SE3, own: Array, shared: Array, points: Array) -> Array:
        """Covariance (6, 6) of the error that a pose found by points (N, 3) shares with poses nearby.

        It adds to ``own`` (6, 6), by errors that are independent from keypoint to keypoint. ``shared`` (6, 6), by
        errors that keypoints close together may have in common, is in it with the factor that the map's images show.

        Where the images of the map agree as well as they claim, and where the camera is that of one of them, the rest
        is that of the map's adjustment alone: zero, if the poses of its images were given. For view changes beyond
        those that could be validated, errors grow in proportion to the view change: points that are all too near, or on
        a bent surface, do not average out.
        """
        depth = typical_depth(map_from_camera, points)
        change = float(self._views.changes(map_from_camera).min())
        of_map = np.diag(change * np.repeat([self.info.position_rate * depth**2, self.info.rotation_rate], 3))
        of_map = self.info.shared_error * shared + of_map + self.of_adjustment(map_from_camera.rotation)
        beyond = max(1.0, change / self.info.validated_change) if self.info.validated_change > 0.0 else 1.0
        return np.asarray(of_map + (beyond**2 - 1.0) * (own + of_map))

    def of_image(self, rotation: Array) -> Array:
        """Covariance of the error of an image's pose, of a camera turned by ``rotation`` (3, 3)."""
        return turn_covariance(self._of_image, rotation) + self.of_adjustment(rotation)

    def of_adjustment(self, rotation: Array) -> Array:
        """The part of it that all images share with the points that they see."""
        return turn_covariance(self._of_adjustment, rotation)

    def of_difference(self, rotation: Array, change: float) -> Array:
        """Covariance of how much the map's error differs from that at a place from which the view has changed.

        It grows with the way, until two places have nothing in common.
        """
        growth = min(self._most_grown, change / self.info.nearest_change)
        return np.asarray(growth * turn_covariance(self._of_difference, rotation))

    @cached_property
    def _views(self) -> Viewpoints:
        return Viewpoints.of_map(self.map)

    @cached_property
    def _most_grown(self) -> float:
        """Ratio of the error difference of two unrelated places to that between nearest images."""
        return 2.0 * float(np.trace(np.linalg.pinv(self._of_difference) @ self._of_image)) / 6.0

    @cached_property
    def _of_image(self) -> Array:
        return np.array(self.info.image_covariance)

    @cached_property
    def _of_adjustment(self) -> Array:
        covariance = self.info.adjustment_covariance
        return np.array(covariance) if len(covariance) else np.zeros((6, 6))

    @cached_property
    def _of_difference(self) -> Array:
        return np.array(self.info.difference_covariance)


def map_uncertainty(map_: Map, config: PoseConfig | None = None) -> MapUncertainty:
    """The uncertainty in a map's manifest, estimated now where that has none, an earlier one, or one by other options.

    A reduced map has no images to estimate it from: its manifest's value is used with any options.
    """
    stored = map_.manifest.uncertainty
    can_measure = map_.manifest.reduced is None
    if stored is not None:
        is_current = stored.version == UNCERTAINTY_VERSION and (config is None or config == PoseConfig())
        if is_current or not can_measure:
            return MapUncertainty(stored, map_)
    return MapUncertainty(measure_map_uncertainty(map_, config), map_)


def measure_map_uncertainty(map_: Map, config: PoseConfig | None = None) -> UncertaintyInfo:
    """Validate a map by its own images, of a large map by some of them."""
    config = config or PoseConfig()
    validation = LeaveOneOut(map_, config)
    trials = list(validation.trials())
    model = _ErrorModel.of(trials, _SHARED_ERRORS if map_.manifest.has_given_poses else (1.0,))
    validated = float(np.quantile([one.view_change for one in trials], _SHARE_VALIDATED)) if trials else 0.0
    pairs = list(validation.pairs())
    adjusted = [] if map_.manifest.has_given_poses else list(adjustment_covariances(map_, config.shared_error))
    return UncertaintyInfo(
        model.position_rate,
        model.rotation_rate,
        _beyond([pair.error for pair in pairs], [pair.own for pair in pairs]).tolist(),
        _beyond(
            [pair.error - pair.of_nearest for pair in pairs], [pair.own + pair.own_of_nearest for pair in pairs]
        ).tolist(),
        max(float(np.median([pair.view_change for pair in pairs])), _LEAST_CHANGE) if pairs else 1.0,
        validated,
        np.mean(adjusted, axis=0).tolist() if adjusted else [],
        model.shared_error,
        validation.own_error(),
    )


@dataclass(frozen=True)
class _ErrorModel:
    """How the errors of poses in a map are distributed, as in ``UncertaintyInfo``, and how well that foretells them.

    ``score`` is the mean log likelihood of the errors of the images that are left out, but for a constant.
    """

    shared_error: float
    position_rate: float
    rotation_rate: float
    score: float

    @staticmethod
    def of(trials: Sequence[LeaveOneOutResult], shared_errors: Sequence[float]) -> _ErrorModel:
        """The model that foretells the errors of images best; the widest one where too few images were found.

        All models that compete keep what they promise: their rates are the least at which, with 95 % confidence, 90 %
        of the images lie in their 90 % regions. The log likelihood, a proper score, tells the sharpest of them, and
        one that is right near the map's images as well as far from them (Gneiting et al. 2007).
        """
        if len(trials) < _MIN_TRIALS:
            return _ErrorModel(1.0, 0.0, 0.0, -np.inf)
        errors, own, shared = (np.array([getattr(one, name) for one in trials]) for name in ("error", "own", "shared"))
        changes, depths = (np.array([getattr(one, name) for one in trials]) for name in ("view_change", "depth"))
        growths = np.stack([changes * np.square(depths), changes])
        models = [_fitted(factor, errors, own + factor * shared, growths) for factor in shared_errors]
        return max(models, key=lambda model: model.score)


def _fitted(shared_error: float, errors: Array, claimed: Array, growths: Array) -> _ErrorModel:
    """The rates for errors (N, 6), claimed covariances (N, 6, 6) and growths (2, N) of variances at rates of one."""
    halves = slice(0, 3), slice(3, 6)
    position_rate, rotation_rate = rates = [
        _least_rate(errors[:, half], claimed[:, half, half], growth)
        for half, growth in zip(halves, growths, strict=True)
    ]
    covariances = claimed.copy()
    for half, rate, growth in zip(halves, rates, growths, strict=True):
        covariances[:, half, half] += rate * growth[:, None, None] * np.eye(3)
    squared = np.einsum("ni,ni->n", errors, np.linalg.solve(covariances, errors[:, :, None])[:, :, 0])
    score = -0.5 * float(np.mean(squared + np.linalg.slogdet(covariances)[1]))
    return _ErrorModel(shared_error, position_rate, rotation_rate, score)


def _least_rate(errors: Array, claimed: Array, growths: Array) -> float:
    """The rate for errors (N, 3), claimed covariances (N, 3, 3) and how variances grow at a rate of one (N,)."""
    variances, axes = np.linalg.eigh(claimed)
    squares = np.square(np.einsum("nij,ni->nj", axes, errors))

    def excess(log_rate: float) -> float:
        squared = np.sum(squares / (variances + np.exp(log_rate) * growths[:, None]), axis=1)
        return float(np.quantile(squared, _SHARE_SEEN)) - chi_square_quantile(_SHARE_WITHIN, 3)

    least, largest = np.log(_RATES)
    if excess(least) <= 0.0:
        return 0.0
    if excess(largest) >= 0.0:
        return _RATES[1]
    from scipy.optimize import brentq  # takes 0.3 s, so it is imported only when needed

    return float(np.exp(brentq(excess, least, largest, xtol=1e-3)))


def _beyond(errors: Sequence[Array], noise: Sequence[Array]) -> Array:
    """Covariance (6, 6) of what errors (6,) hold beyond noise of covariances (6, 6): none in any direction of less."""
    if not errors:
        return np.zeros((6, 6))
    root = np.linalg.cholesky(np.mean(noise, axis=0))
    whitened = np.linalg.solve(root, np.array(errors).T)
    variances, axes = np.linalg.eigh(whitened @ whitened.T / len(errors))
    along = root @ axes
    return np.asarray((along * np.maximum(variances - 1.0, 0.0)) @ along.T)
