"""A buffer of the newest images and their poses, for late anchors."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.views import GreyImage, PointObservations
from visloc_ros.tracking.pyramid import reduced


@dataclass(frozen=True, eq=False)
class RecentImage:
    """A picture with ``map_from_camera`` as predicted for it, and ``pose``, the same relative to the last anchor.

    A tracked pose has a covariance (6, 6) since the anchor's image, and its inlier points; a pose without them is the
    anchor's, moved on by the prediction.
    """

    picture: GreyImage
    predicted: SE3 | None
    pose: SE3 | None = None
    covariance: Array | None = None
    observed: PointObservations | None = None

    @property
    def stamp_ns(self) -> int:
        """Stamp of the image."""
        return self.picture.stamp_ns


class RecentImages:
    """A bounded ring of images, oldest first."""

    def __init__(self, config: MapTrackingConfig) -> None:
        self._config = config
        self._images: deque[RecentImage] = deque(maxlen=config.history_images)

    def add(self, frame: Frame, predicted: SE3 | None) -> RecentImage:
        """Keep the image of the next frame, reduced where it is large."""
        grey, camera = reduced(frame.grey, frame.camera, self._config.max_pixels)
        picture = GreyImage(frame.stamp_ns, grey, camera, frame.camera.width / camera.width)
        self._images.append(RecentImage(picture, predicted))
        while self._images[0].stamp_ns < frame.stamp_ns - self._config.history_s * NANOSECONDS:
            self._images.popleft()
        return self._images[-1]

    @property
    def newest(self) -> RecentImage:
        """The image that came last."""
        return self._images[-1]

    def at(self, stamp_ns: int) -> RecentImage | None:
        """The image of a frame, None where it is gone."""
        return next((image for image in reversed(self._images) if image.stamp_ns == stamp_ns), None)

    def before(self, stamp_ns: int) -> RecentImage | None:
        """The newest image that is no newer than a stamp, None where all are."""
        return next((image for image in reversed(self._images) if image.stamp_ns <= stamp_ns), None)

    def locate(self, image: RecentImage, pose: SE3, covariance: Array, observed: PointObservations) -> RecentImage:
        """Note the tracked pose of one of the images; returns it with that."""
        index = self._images.index(image)
        self._images[index] = replace(image, pose=pose, covariance=covariance, observed=observed)
        return self._images[index]

    def with_pose(self) -> list[RecentImage]:
        """The images whose pose is known, oldest first."""
        return [image for image in self._images if image.pose is not None]

    def forget_points(self) -> None:
        """Forget which points were found where: their rows are of another version of the map."""
        for index, image in enumerate(self._images):
            if image.observed is not None:
                self._images[index] = replace(image, observed=image.observed.without_points())

    def spread_since(self, stamp_ns: int, most: int) -> list[RecentImage]:
        """The images after a stamp, oldest first; if more than ``most``, some at even distances, with the newest."""
        since = [image for image in self._images if image.stamp_ns > stamp_ns]
        step = max(1, -(-len(since) // most))
        return since[::-step][::-1]

    def rebase(self, anchored: RecentImage, map_from_camera: SE3) -> None:
        """Carry the poses over to a new anchor, which puts one of the images at ``map_from_camera``.

        Motion since that image is the tracked one, or else the predicted one; images without either lose their pose.
        """
        for index, image in enumerate(self._images):
            self._images[index] = _rebased(image, anchored, map_from_camera)


def _rebased(image: RecentImage, anchored: RecentImage, map_from_camera: SE3) -> RecentImage:
    if image.stamp_ns == anchored.stamp_ns:
        return replace(image, pose=map_from_camera, covariance=np.zeros((6, 6)))
    if image.covariance is not None and anchored.covariance is not None and image.pose and anchored.pose:
        moved, covariance = anchored.pose.inverse @ image.pose, image.covariance + anchored.covariance
        return replace(image, pose=map_from_camera @ moved, covariance=covariance)
    if image.predicted is not None and anchored.predicted is not None:
        moved = anchored.predicted.inverse @ image.predicted
        return replace(image, pose=map_from_camera @ moved, covariance=None)
    return replace(image, pose=None, covariance=None)
