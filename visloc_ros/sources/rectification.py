"""Whether images are rectified: by the names of topic and frame, checked against what the images show.

A calibration may hold for the images as the camera took them (K and D) or for rectified ones (P). Names say which; the
motion between images (epipolar geometry) shows whether they are right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.errors import CalibrationError, VislocError
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, Image
from visloc_ros.sources.panorama import refuse_panorama

_RECTIFIED_NAME = re.compile(r"(?<![a-z])(rect|rectified|undist|undistorted)(?![a-z])", re.IGNORECASE)

_LARGEST_SIDE = 800  # pixels that images are reduced to: points need no more
_STEP_NS = NANOSECONDS // 10  # between the images looked at
_MOVED = 0.03  # of the longer side: the median motion of a pair that shows distortion
_FEWEST_POINTS, _MOST_POINTS = 60, 600
_KEPT_POINTS = 0.5  # share of the points that are followed; with fewer a new pair begins
_MAX_ERROR_PX = 1.0
_CLEAR = 0.05  # share of the points by which one camera explains a pair better than the other: beyond chance
_CLEAR_PAIRS, _MAJORITY = 4, 0.8  # that make a verdict
_MOST_PAIRS = 60  # without a verdict the two cameras hardly differ
_AHEAD_BYTES = 1 << 26  # some seconds of usual images
_VISIBLE_PX = 1.0  # a distortion below makes no difference


def is_rectified_by_name(*names: str) -> bool:
    """Whether the name of a topic or a frame says that its images are rectified, as image_proc's 'image_rect'."""
    return any(_RECTIFIED_NAME.search(name) for name in names)


def without_distortion(camera: pycolmap.Camera) -> pycolmap.Camera | None:
    """The pinhole camera of the same focal lengths and centre; None where the camera itself hardly differs from it."""
    if not camera.focal_length_idxs():
        return None
    params = [camera.focal_length_x, camera.focal_length_y, camera.principal_point_x, camera.principal_point_y]
    pinhole = pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height, params=params)
    x, y = np.meshgrid(np.linspace(0, camera.width, 9), np.linspace(0, camera.height, 9))
    pixels = np.column_stack([x.ravel(), y.ravel()])
    undistorted = np.asarray(camera.cam_from_img(pixels))
    difference = np.linalg.norm(undistorted - pinhole.cam_from_img(pixels), axis=1) * camera.mean_focal_length()
    return pinhole if np.nanmax(difference, initial=0.0) > _VISIBLE_PX else None


def checked(frames: Iterable[Frame], ahead_bytes: int = _AHEAD_BYTES) -> Iterator[Frame]:
    """The frames of a source, as long as their images agree with their first calibration.

    Raises CalibrationError where they do not, SourceError where the first one is a panorama.

    As many as fill ``ahead_bytes`` are looked at before the first one is handed out, where the check needs them.
    """
    check: RectificationCheck | None = None
    waiting: list[Frame] = []
    try:
        for frame in frames:
            if check is None:
                refuse_panorama(frame.image)
                check = RectificationCheck(frame.calibration)
            check.add(frame)
            if check.contradiction:
                waiting = []
                raise CalibrationError(check.contradiction)
            waiting.append(frame)
            if check.is_done or sum(one.image.nbytes for one in waiting) >= ahead_bytes:
                yield from waiting
                waiting = []
    except VislocError:  # of the source: the images before it are good
        yield from waiting
        raise
    yield from waiting


class RectificationCheck:
    """Compares two cameras by the motion between images: the calibration's, and that of images rectified or not.

    ``contradiction`` says what is wrong and what to do, once the images show it; empty until then.
    """

    def __init__(self, calibration: CameraCalibration | None) -> None:
        self.contradiction = ""
        self.calibration = calibration
        self._other = _other_camera(calibration)
        self._first: Image | None = None
        self._looked_ns = -NANOSECONDS
        self._gains: list[float] = []

    @property
    def is_done(self) -> bool:
        """Whether more images would change nothing."""
        return self._other is None or bool(self.contradiction)

    def add(self, frame: Frame) -> None:
        """Take the next image into account."""
        if self.is_done or frame.calibration is not self.calibration:
            return
        if 0 <= frame.stamp_ns - self._looked_ns < _STEP_NS:
            return
        self._looked_ns = frame.stamp_ns
        image = _reduced(frame.grey)
        if self._first is None:
            self._first = image
            return
        one, other, num_begun = _followed(self._first, image)
        is_lost = len(one) < max(_FEWEST_POINTS, _KEPT_POINTS * num_begun)
        if not is_lost and np.median(np.linalg.norm(one - other, axis=1)) < _MOVED * max(image.shape):
            return
        self._first = image
        if len(one) >= _FEWEST_POINTS:
            self._compare(one, other, frame.grey.shape[1] / image.shape[1])

    def _compare(self, one: Array, other: Array, scale: float) -> None:
        assert self.calibration is not None
        assert self._other is not None
        used, alternative = (
            _explained(one * scale, other * scale, camera, scale) for camera in (self.calibration.camera, self._other)
        )
        self._gains.append((used - alternative) / len(one))
        clear = [gain for gain in self._gains if abs(gain) > _CLEAR]
        against = sum(gain < 0 for gain in clear)
        if len(clear) >= _CLEAR_PAIRS and against >= _MAJORITY * len(clear):
            self.contradiction = _contradiction(self.calibration)
        elif len(self._gains) >= _MOST_PAIRS or (len(clear) >= _CLEAR_PAIRS and against <= len(clear) // _CLEAR_PAIRS):
            self._other = None  # the calibration is right, or it makes no difference


def _other_camera(calibration: CameraCalibration | None) -> pycolmap.Camera | None:
    """The camera if the images were rectified, or were not, against what the calibration says; None without any."""
    if calibration is None or calibration.source not in (CalibrationSource.GIVEN, CalibrationSource.RECORDED):
        return None
    return calibration.alternative or without_distortion(calibration.camera)


def _contradiction(calibration: CameraCalibration) -> str:
    if without_distortion(calibration.camera) is None:
        return (
            "the images are not rectified, although their topic or frame is named so: points move between them as the "
            "distortion (K and D) has it, not as P has it. Give the calibration of these images as a calibration file"
        )
    words = (
        "the images seem to be rectified, but their calibration has distortion: points move between them as without "
        "it. Give a calibration of the rectified images as a calibration file"
    )
    if calibration.alternative is None:  # it is no camera_info
        return words
    return f"{words}; where P of camera_info is that, say so (--rectified for a bag, camera.is_rectified for a node)"


def _reduced(grey: Image) -> Image:
    scale = _LARGEST_SIDE / max(grey.shape)
    if scale >= 1.0:
        return grey
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _followed(one: Image, other: Image) -> tuple[Array, Array, int]:
    """Points (N, 2) of one image and of the other, in COLMAP pixels, by optical flow there and back; points begun."""
    none = np.empty((0, 2))
    begun = cv2.goodFeaturesToTrack(one, _MOST_POINTS, 0.01, 8)
    if begun is None or one.shape != other.shape:
        return none, none, 0
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, other, begun, np.empty_like(begun), maxLevel=4)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(other, one, there, np.empty_like(begun), maxLevel=4)
    same = np.linalg.norm((begun - back)[:, 0], axis=1) < 0.5 * _MAX_ERROR_PX
    kept = same & (found.ravel() == 1) & (found_back.ravel() == 1)
    return begun[kept, 0].astype(np.float64) + 0.5, there[kept, 0].astype(np.float64) + 0.5, len(begun)


def _explained(one: Array, other: Array, camera: pycolmap.Camera, scale: float) -> float:
    """How many pairs of pixels the best essential matrix of a camera explains, each the less the larger its error."""
    rays = [np.asarray(camera.cam_from_img(pixels)) for pixels in (one, other)]
    seen = np.all(np.isfinite(np.hstack(rays)), axis=1)
    focal_length = camera.mean_focal_length() / scale
    if seen.sum() < _FEWEST_POINTS:
        return 0.0
    from_one, from_other = (np.ascontiguousarray(one_of[seen], dtype=np.float64) for one_of in rays)
    cv2.setRNGSeed(0)
    found, _ = cv2.findEssentialMat(
        from_one, from_other, np.eye(3), cv2.USAC_MAGSAC, 0.9999, _MAX_ERROR_PX / focal_length
    )
    if found is None or found.shape != (3, 3):
        return 0.0
    distances = _sampson_distances(np.asarray(found, dtype=np.float64), from_one, from_other)
    return float(np.sum(1.0 - np.minimum(focal_length * distances / _MAX_ERROR_PX, 1.0) ** 2))


def _sampson_distances(essential: Array, one: Array, other: Array) -> Array:
    """Distances (N,) at depth 1 from the epipolar geometry, to first order (Hartley and Zisserman, 11.4.3)."""
    one, other = (np.column_stack([rays, np.ones(len(rays))]) for rays in (one, other))
    lines, lines_back = one @ essential.T, other @ essential
    squared = np.square(lines[:, :2]).sum(axis=1) + np.square(lines_back[:, :2]).sum(axis=1)
    return np.asarray(np.abs(np.sum(other * lines, axis=1)) / np.sqrt(squared + np.finfo(float).tiny))
