"""Reference images: the map's thumbnails as views of known pose, which correct the drift of tracked poses.

A pose tracked from an anchor inherits its error and drifts from view to view. Patches of the map's points in its
thumbnails, found in an equally small version of the present image, give a pose that does neither. It is less exact than
full images over short distances, so the two are combined by their covariances. These exclude the map's own error at a
place, which is no error of a pose relative to the map's images. Images are localized against them a few times a second;
in between, the last pose moves with the tracked ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from visloc_ros.core.camera import HALF_PIXEL, rescale
from visloc_ros.core.errors import MapError, SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Image
from visloc_ros.localization.map_uncertainty import MapUncertainty
from visloc_ros.localization.view_change import Viewpoints, view_change
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.map_points import MapPoints, Rows
from visloc_ros.map_tracking.patch_localization import LocatedImage, check_pose, fit_to_targets
from visloc_ros.map_tracking.search import expected_targets, find_targets
from visloc_ros.map_tracking.views import GreyImage, PointObservations, PosedView, map_view
from visloc_ros.sources.image_header import read_image_header

_KEPT_VIEWS = 64
_LARGEST_CHANGE = 1.0  # of the view, in radians, up to which a reference image is used
_MAX_POINTS = 150  # searched: more cost time and add little
_WINDOW_PX = 9
_COARSEST_WIDTH = 80  # of the pyramid: so the search reaches as far in large thumbnails as in small ones
_LEAST_SIGMA_PX = 0.2  # of a patch's place in small pictures
_INLIER_SIGMAS = 4.0
_LARGEST = 1 << 18  # pixels of a thumbnail


class ReferenceImages:
    """The thumbnails of a map with the points that they show."""

    def __init__(self, map_: Map, points: MapPoints, config: MapTrackingConfig) -> None:
        self._points, self._config = points, config
        self._margin_px = float(_WINDOW_PX // 2 + 2)
        self._images = [image for image in map_.images if image.name in map_.thumbnails and len(_seen(image))]
        self._thumbnails = map_.thumbnails
        # A camera's pictures have one size; those that are on disk still are checked when they are read.
        of_cameras = {id(image.camera): image for image in self._images}
        checked = self._images if isinstance(map_.thumbnails, dict) else of_cameras.values()
        widths = [_checked_width(image, map_.thumbnails[image.name]) for image in checked]
        self._width = max(widths, default=0)
        self._levels = 1 + max(1, round(np.log2(max(self._width, 1) / _COARSEST_WIDTH)))
        self._view = lru_cache(maxsize=_KEPT_VIEWS)(self._make_view)
        has_all = len(self._images) == len(map_.images)
        self._views = Viewpoints.of_map(map_) if has_all else Viewpoints.of(self._images, map_.points)

    def locate(self, picture: GreyImage, guess: SE3) -> LocatedImage | None:
        """Pose of a picture near ``map_from_camera``, None where the reference images do not determine it."""
        views = [self._view(index) for index in self._nearest(guess)]
        if not views:
            return None
        small = _shrink(picture, self._width)
        targets = expected_targets(views, small, guess.inverse, _MAX_POINTS, self._margin_px)
        pixels, good = find_targets(views, targets, small, _WINDOW_PX, levels=self._levels)
        sigma_px = max(self._points.sigma_px / small.reduction, _LEAST_SIGMA_PX)
        limit = _INLIER_SIGMAS * sigma_px
        located = fit_to_targets(views, targets, pixels, good, small, guess, sigma_px, limit)
        return None if check_pose(len(targets), located, self._config) else located

    def scale_of(self, picture: GreyImage) -> float:
        """How many times as large as thumbnails a picture is."""
        return max(1.0, float(picture.grey.shape[1]) / self._width)

    def _nearest(self, map_from_camera: SE3) -> list[int]:
        """The reference images with the least view change to the camera."""
        changes = self._views.changes(map_from_camera)
        order = np.argsort(changes, kind="stable")[: self._config.reference_images]
        return [int(index) for index in order if changes[index] < _LARGEST_CHANGE]

    def _make_view(self, index: int) -> PosedView:
        image = self._images[index]
        thumbnail = self._thumbnails[image.name]
        _checked_width(image, thumbnail)
        grey = _decode(image, thumbnail)
        height, width = grey.shape
        picture = GreyImage(0, grey, rescale(image.camera, width, height), image.camera.width / width)
        scale = [width / image.camera.width, height / image.camera.height]
        keypoints = image.features.keypoints[image.point_rows != NO_POINT]
        observed = PointObservations.of(_seen(image), (keypoints * scale - HALF_PIXEL).astype(np.float32))
        return map_view(picture, image.map_from_camera, observed, self._points, self._margin_px)


def _seen(image: MapImage) -> Rows:
    return np.asarray(image.point_rows[image.point_rows != NO_POINT], dtype=np.int64)


def _checked_width(image: MapImage, thumbnail: bytes) -> int:
    """Width in pixels; anything but a small JPEG of the image is refused before it is decoded."""
    try:
        header = read_image_header(thumbnail)
    except SourceError as error:
        raise MapError(f"the thumbnail of the map's image '{image.name}' is broken: {error}") from error
    height = header.width * image.camera.height / image.camera.width
    if header.width * header.height > _LARGEST or abs(header.height - height) > 1.0:
        size = f"{header.width} x {header.height}"
        raise MapError(f"the thumbnail of the map's image '{image.name}' has {size} pixels: it is of another image")
    return header.width


def _decode(image: MapImage, thumbnail: bytes) -> Image:
    grey = cv2.imdecode(np.frombuffer(thumbnail, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise MapError(f"the thumbnail of the map's image '{image.name}' cannot be decoded")
    return np.asarray(grey, dtype=np.uint8)


def _shrink(picture: GreyImage, thumbnail_width: int) -> GreyImage:
    """A picture of the size of thumbnails; a smaller one stays as it is."""
    height, width = picture.grey.shape
    if width <= thumbnail_width:
        return picture
    size = (thumbnail_width, max(1, round(height * thumbnail_width / width)))
    grey = np.asarray(cv2.resize(picture.grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return GreyImage(picture.stamp_ns, grey, rescale(picture.camera, *size), picture.reduction * width / size[0])


@dataclass(frozen=True, eq=False)
class ReferencePose:
    """``map_from_camera`` by reference images, with its covariance (6, 6), the map at this place taken as true."""

    map_from_camera: SE3
    covariance: Array


@dataclass(frozen=True, eq=False)
class _LastReference:
    """The last pose by reference images, and the tracked pose of the same image."""

    pose: ReferencePose
    tracked: LocatedImage

    def moved_to(self, tracked: LocatedImage, uncertainty: MapUncertainty) -> ReferencePose:
        """The pose of a later image: moved as the tracked pose did, with the covariances of both its ends."""
        before, now = self.tracked.map_from_camera, tracked.map_from_camera
        pose = self.pose.map_from_camera @ (before.inverse @ now)
        change = view_change(before, 1.0 / float(np.median(tracked.seen.inverse_depths)), now)
        motion = self.tracked.fit.covariance + tracked.fit.covariance + uncertainty.of_difference(now.rotation, change)
        moved = move_covariance(self.pose.covariance, pose.translation - self.pose.map_from_camera.translation)
        return ReferencePose(pose, np.asarray(moved + motion))


class ReferenceLocalizer:
    """Corrects the drift of tracked poses without localizing every frame against reference images."""

    def __init__(self, images: ReferenceImages, uncertainty: MapUncertainty, config: MapTrackingConfig) -> None:
        self._images, self._uncertainty = images, uncertainty
        self._period_ns = round(config.reference_period_s * NANOSECONDS)
        self.forget()

    def forget(self) -> None:
        """Localize the next image again: it will be tracked by other views, whose errors differ."""
        self._last: _LastReference | None = None
        self._localized_ns: int | None = None

    def scale_of(self, picture: GreyImage) -> float:
        """How many times as large as thumbnails a picture is."""
        return self._images.scale_of(picture)

    def update(self, picture: GreyImage, tracked: LocatedImage) -> ReferencePose | None:
        """The pose by reference images of an image that was tracked: localized again, or moved from the last one."""
        if self._localized_ns is None or picture.stamp_ns - self._localized_ns >= self._period_ns:
            self._localized_ns = picture.stamp_ns
            found = self.localize(picture, tracked.map_from_camera)
            if found is not None:
                self._last = _LastReference(found[0], tracked)
                return found[0]
        return None if self._last is None else self._last.moved_to(tracked, self._uncertainty)

    def localize(self, picture: GreyImage, guess: SE3) -> tuple[ReferencePose, LocatedImage] | None:
        """The pose of an image near ``map_from_camera`` by reference images alone; None where they fail."""
        located = self._images.locate(picture, guess)
        if located is None:
            return None
        return ReferencePose(located.map_from_camera, located.fit.covariance), located
