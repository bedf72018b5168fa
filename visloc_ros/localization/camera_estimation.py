"""The intrinsics of an uncalibrated camera, estimated from its frames that are found in the map.

Each frame that is found with a free focal length estimates that length with its own uncertainty, which is large where
the points lie in a plane, because walking back then looks like zooming out. Frames of one camera share the focal
length, so their estimates are combined: frames that contradict most others are left out, and a bundle adjustment over
the rest, with fixed map points, gives the focal length and, where the frames determine it, a radial distortion. The
map's own camera, where the image size allows it, and the focal length in a photo's EXIF data are hypotheses that must
agree with this estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, sigma_of_part
from visloc_ros.core.camera import (
    guess_camera,
    has_squeezed_pixels,
    pixel_aspect,
    squeeze,
    with_focal_length,
    with_two_focal_lengths,
)
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import PoseSolution
from visloc_ros.localization.uncertainty import camera_information, effective_variance, reprojection_residuals

if TYPE_CHECKING:
    from visloc_ros.localization.anchor import AnchorEngine
    from visloc_ros.localization.multi_map import MultiMapEngine
    from visloc_ros.sources import FrameSource

MAX_FOCAL_SIGMA = 0.05
"""Largest relative standard deviation of a focal length that a pose is given with: 5 % of the distance to the scene."""
PLAUSIBLE_FOCAL = (0.35, 4.0)
"""Focal lengths that cameras have, as share of the longer side of the image: from 110 to 14 degrees of view."""

MAP_FOCAL_SIGMA = 0.01
"""Relative errors of a focal length that structure from motion estimated, and of one estimated in its map."""

_ADJUSTED, _FIXED = 1, 2  # cameras in the bundle adjustment
_RADIAL_SIGMA = 0.1  # of the first radial coefficient before anything is known: that of most lenses without a fisheye
_LEAST_RADIAL_KNOWN = 0.05  # standard deviation from which on it is estimated
_USEFUL_FOCAL_SIGMA = 0.2  # frames with a larger one are ignored
_AGREEMENT = 3.0  # standard deviations
_CONFIRMING_SIGMA = 0.02  # of an estimate that may confirm the map's camera; a weaker one fits other cameras as well
_CONFIRMED = 0.997  # share of right cameras that the likelihood-ratio test confirms, as three standard deviations would
_SQUEEZED, _DOUBTED = 0.95, 0.68  # confidence that pixels are not square, and from which on it adds to the uncertainty
_SETTLED_SIGMA, _SETTLED_VIEWS, _MAX_VIEWS = 0.02, 5, 12


@dataclass(frozen=True, eq=False)
class CameraView:
    """A frame found with a free focal length: pose, camera, the pixels (N, 2) and map points (N, 3) that agree with it.

    ``information`` (2, 2) is that on the logarithm of the focal length and a radial coefficient.
    """

    map_from_camera: SE3
    camera: pycolmap.Camera
    pixels: Array
    points: Array
    information: Array

    @staticmethod
    def from_solution(solution: PoseSolution, pixels: Array, points: Array, config: PoseConfig) -> CameraView:
        """The view that a solution with a free focal length gives of all correspondences (N, 2), (N, 3)."""
        pixels, points = pixels[solution.inliers], points[solution.inliers]
        information = camera_information(solution.map_from_camera, pixels, points, solution.camera, config)
        return CameraView(solution.map_from_camera, solution.camera, pixels, points, information)

    @cached_property
    def focal_sigma(self) -> float:
        """Relative standard deviation of the focal length, the radial distortion being unknown."""
        return _focal_sigma(self.information)

    @property
    def focal_length(self) -> float:
        """Focal length in pixels by this frame alone."""
        return float(self.camera.mean_focal_length())

    @property
    def is_plausible(self) -> bool:
        """Whether cameras have such a focal length; among wrong matches any explains some of them."""
        low, high = PLAUSIBLE_FOCAL
        return low <= self.focal_length / max(self.camera.width, self.camera.height) <= high

    def agrees_with(self, calibration: CameraCalibration) -> bool:
        """Whether the focal length differs by no more than both uncertainties allow."""
        difference = math.log(self.focal_length / calibration.camera.mean_focal_length())
        return abs(difference) <= _AGREEMENT * math.hypot(self.focal_sigma, calibration.focal_sigma)


class CameraEstimator:
    """The estimate of a camera from its frames that were found so far.

    ``prior`` is what is known before any frame; ``map_cameras`` are the map's own for images of this size.
    ``whole_focal_length`` is that of earlier frames of the camera, of which these may show an enlarged part.
    """

    def __init__(
        self,
        prior: CameraCalibration,
        map_cameras: Sequence[pycolmap.Camera],
        config: PoseConfig,
        whole_focal_length: float = math.inf,
    ) -> None:
        self.whole_focal_length = whole_focal_length
        self.calibration = prior
        self.is_settled = False
        self._prior = prior
        self._map_cameras = map_cameras
        self._config = config
        self._views: list[CameraView] = []

    @property
    def candidates(self) -> list[pycolmap.Camera]:
        """Cameras worth trying in a frame whose own is not known."""
        return [self.calibration.camera, *self._map_cameras]

    def add(self, view: CameraView, instead_of: CameraView | None = None) -> None:
        """Take a frame into account; the calibration changes where it adds information.

        ``instead_of`` is an earlier view of the same image: both have the same errors, and count once.
        """
        if self.is_settled or view.focal_sigma > _USEFUL_FOCAL_SIGMA:
            return
        self._views = [*(known for known in self._views if known is not instead_of), view][-_MAX_VIEWS:]
        agreeing = most_agreeing(self._views)
        if 2 * len(agreeing) <= len(self._views):  # no majority: nothing is known
            self.calibration = self._prior
            return
        chosen = self._choose(agreeing)
        enlargement = chosen.camera.mean_focal_length() / self.whole_focal_length
        self.calibration = replace(chosen, part_sigma=sigma_of_part(enlargement))
        enough = len(agreeing) >= _SETTLED_VIEWS and self.calibration.focal_sigma <= _SETTLED_SIGMA
        is_known = self.calibration.focal_sigma <= MAX_FOCAL_SIGMA  # not by one wall, however often it is seen
        self.is_settled = is_known and (enough or len(agreeing) == _MAX_VIEWS)

    def _choose(self, views: Sequence[CameraView]) -> CameraCalibration:
        """The map's camera where the views confirm it, else the one estimated from them and EXIF data."""
        estimated = estimate_camera(views, self._config)
        if estimated.focal_sigma <= _CONFIRMING_SIGMA:
            of_map = [CameraCalibration(camera, CalibrationSource.MAP, MAP_FOCAL_SIGMA) for camera in self._map_cameras]
            confirmed = next((one for one in of_map if _is_confirmed(one, estimated, views, self._config)), None)
            if confirmed is not None:
                return confirmed
        if self._prior.source is CalibrationSource.EXIF and _agree(self._prior, estimated):
            return _joined(self._prior, estimated)
        return estimated


def estimate_camera(views: Sequence[CameraView], config: PoseConfig) -> CameraCalibration:
    """Estimate the one camera of several views: focal length and, where they determine it, a radial coefficient."""
    information = np.sum([view.information for view in views], axis=0)
    focal_length, sigma = combined_focal_length(views)
    width, height = views[0].camera.width, views[0].camera.height
    start = with_focal_length(guess_camera(width, height), focal_length)
    of_radial = information[1, 1] - information[0, 1] ** 2 / information[0, 0]  # the focal length being unknown
    bears_radial = bool(of_radial >= _LEAST_RADIAL_KNOWN**-2)
    camera = _adjust(views, start, config, bears_radial)
    freed = _free_pixel_aspect(views, camera, config)
    if has_squeezed_pixels(freed):
        contradiction = _contradiction(views, camera, freed, config)
        if contradiction > chi_square_quantile(_SQUEEZED, 1):
            camera = _adjust_squeezed(views, freed, config, bears_radial)
        elif contradiction > chi_square_quantile(_DOUBTED, 1):
            sigma = math.hypot(sigma, math.log(pixel_aspect(freed)))
    return CameraCalibration(camera, CalibrationSource.ESTIMATED, sigma)


def combined_focal_length(views: Sequence[CameraView]) -> tuple[float, float]:
    """Mean focal length in pixels of views of one camera, and its relative standard deviation."""
    weights = np.array([1.0 / view.focal_sigma**2 for view in views])
    logs = np.log([view.focal_length for view in views])
    information = np.sum([view.information for view in views], axis=0)
    return math.exp(float(weights @ logs / weights.sum())), _focal_sigma(information)


def _free_pixel_aspect(views: Sequence[CameraView], square: pycolmap.Camera, config: PoseConfig) -> pycolmap.Camera:
    """The camera with a focal length in each direction; a loose loss first: the views' inliers are of square pixels."""
    camera = with_two_focal_lengths(square)
    assert camera is not None
    for loss_scale_px in (config.max_error_px, config.loss_scale_px):
        camera = _adjust(views, camera, replace(config, loss_scale_px=loss_scale_px), bears_radial=False)
    return camera


def _adjust_squeezed(
    views: Sequence[CameraView], freed: pycolmap.Camera, config: PoseConfig, bears_radial: bool
) -> pycolmap.Camera:
    """The camera with the given shape of its pixels, estimated in the image that square pixels would show."""
    aspect, stored_width = pixel_aspect(freed), freed.width
    start = guess_camera(max(1, round(aspect * stored_width)), freed.height)
    start = with_focal_length(start, float(freed.focal_length_y))
    stretched = [replace(view, pixels=view.pixels * [aspect, 1.0]) for view in views]
    return squeeze(_adjust(stretched, start, config, bears_radial), stored_width, aspect)


def _adjust(
    views: Sequence[CameraView], camera: pycolmap.Camera, config: PoseConfig, bears_radial: bool
) -> pycolmap.Camera:
    """Refine a camera and the views' poses together, with fixed map points (bundle adjustment)."""
    model, adjusted = pycolmap.Reconstruction(), pycolmap.BundleAdjustmentConfig()
    for camera_id in (_ADJUSTED, _FIXED):
        camera.camera_id = camera_id
        model.add_camera_with_trivial_rig(camera)
    for image_id, view in enumerate(views, start=1):
        _add_image(model, image_id, _ADJUSTED, view.pixels, view.map_from_camera)
        adjusted.add_image(image_id)
    # COLMAP needs two observations of a point; the second is in a fixed image that stands for the map. Its camera is
    # another one: its residuals say nothing about that of the views.
    map_id = len(views) + 1
    _add_image(model, map_id, _FIXED, np.concatenate([view.pixels for view in views]), views[0].map_from_camera)
    rows = ((image_id, row, point) for image_id, view in enumerate(views, 1) for row, point in enumerate(view.points))
    for map_row, (image_id, row, point) in enumerate(rows):
        track = pycolmap.Track([pycolmap.TrackElement(image_id, row), pycolmap.TrackElement(map_id, map_row)])
        adjusted.add_constant_point(model.add_point3D(point, track))
    options = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=True, refine_extra_params=bears_radial, print_summary=False
    )
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = config.loss_scale_px
    pycolmap.create_default_bundle_adjuster(options, adjusted, model).solve()
    return pycolmap.Camera(model.cameras[_ADJUSTED].todict())


def _add_image(
    model: pycolmap.Reconstruction, image_id: int, camera_id: int, pixels: Array, map_from_camera: SE3
) -> None:
    image = pycolmap.Image(name=str(image_id), keypoints=pixels, camera_id=camera_id, image_id=image_id)
    model.add_image_with_trivial_frame(image, map_from_camera.inverse.to_rigid3d())


def most_agreeing(views: Sequence[CameraView]) -> list[CameraView]:
    """The largest set of views that agree with one of them; of equally large ones the one that knows most."""
    logs = np.log([view.focal_length for view in views])
    variances = np.array([view.focal_sigma**2 for view in views])
    distances = np.square(logs[:, None] - logs) / (variances[:, None] + variances)
    agree: NDArray[np.bool_] = distances <= _AGREEMENT**2
    best = max(range(len(views)), key=lambda row: (int(agree[row].sum()), float((1.0 / variances)[agree[row]].sum())))
    return [view for view, agrees in zip(views, agree[best], strict=True) if agrees]


def _is_confirmed(
    hypothesis: CameraCalibration, estimated: CameraCalibration, views: Sequence[CameraView], config: PoseConfig
) -> bool:
    """Whether the views contradict a camera no more than by chance, compared with the one estimated from them.

    A likelihood-ratio test of two parameters, focal length and radial distortion. Keypoints close together err
    together, by the map's own errors too: each view counts by its design effect (Rao and Scott 1984).
    """
    if not _agree(hypothesis, estimated):
        return False
    return _contradiction(views, hypothesis.camera, estimated.camera, config) <= chi_square_quantile(_CONFIRMED, 2)


def _contradiction(
    views: Sequence[CameraView], one: pycolmap.Camera, better: pycolmap.Camera, config: PoseConfig
) -> float:
    """How much more the views contradict a camera than one of more free parameters (chi-square distributed)."""
    contradiction = 0.0
    for view in views:
        worst, best = _fit_pose(view, one, config), _fit_pose(view, better, config)
        if best is not None:
            variance = effective_variance(best, view.pixels, better, config)
            contradiction += (_cost(worst, config) - _cost(best, config)) / variance
    return contradiction


def _fit_pose(view: CameraView, camera: pycolmap.Camera, config: PoseConfig) -> Array | None:
    """Residuals (N, 2) in pixels of a view with another camera, its pose refined; None where that fails."""
    options = pycolmap.AbsolutePoseRefinementOptions(loss_function_scale=config.loss_scale_px)
    given = view.map_from_camera.inverse.to_rigid3d()
    mask = np.ones(len(view.pixels), dtype=bool)
    refined = pycolmap.refine_absolute_pose(given, view.pixels, view.points, mask, camera, options)
    if refined is None:
        return None
    pose = SE3.from_rigid3d(refined["cam_from_world"]).inverse
    return reprojection_residuals(pose, view.pixels, view.points, camera)


def _cost(residuals: Array | None, config: PoseConfig) -> float:
    """Cauchy cost in square pixels; infinite without residuals."""
    if residuals is None:
        return math.inf
    squared = np.square(residuals).sum(axis=1)
    return config.loss_scale_px**2 * float(np.log1p(squared / config.loss_scale_px**2).sum())


def _agree(one: CameraCalibration, other: CameraCalibration) -> bool:
    difference = math.log(one.camera.mean_focal_length() / other.camera.mean_focal_length())
    return abs(difference) <= _AGREEMENT * math.hypot(one.focal_sigma, other.focal_sigma)


def _joined(exif: CameraCalibration, estimated: CameraCalibration) -> CameraCalibration:
    """The estimated camera with the focal length that it and EXIF data together make most likely."""
    logs = np.log([one.camera.mean_focal_length() for one in (exif, estimated)])
    weights = np.array([1.0 / one.focal_sigma**2 for one in (exif, estimated)])
    camera = with_focal_length(estimated.camera, math.exp(float(weights @ logs / weights.sum())))
    source = CalibrationSource.EXIF if weights[0] > weights[1] else CalibrationSource.ESTIMATED
    return CameraCalibration(camera, source, float(weights.sum() ** -0.5))


def _focal_sigma(information: Array) -> float:
    """Relative standard deviation of the focal length by the information (2, 2) of views, the radial one unknown.

    Errors of the map, which the views share, do not average out.
    """
    known = float(information[0, 0] - information[0, 1] ** 2 / (information[1, 1] + _RADIAL_SIGMA**-2))
    return math.hypot(known**-0.5, MAP_FOCAL_SIGMA) if known > 0 else math.inf


_TRIES = 30


def find_camera(engine: AnchorEngine | MultiMapEngine, source: FrameSource) -> CameraCalibration:
    """The calibration of a source: as given or recorded, else estimated by the map from frames that are found in it.

    Frames from all over the source are searched until further ones would not change the estimate; where none is found
    the source's guess stays.
    """
    if source.calibration.is_provisional:
        for frame in islice(source, 0, None, max(1, len(source) // _TRIES)):
            engine.localize(frame)
            if engine.has_settled(source.calibration):
                break
    return engine.best_calibration(source.calibration)
