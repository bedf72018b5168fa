"""Localizes against reference images a few times a second; in between, the last pose moves with the tracked ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.localization.map_uncertainty import MapUncertainty
from visloc_ros.localization.view_change import view_change
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.patch_localization import LocatedImage
from visloc_ros.map_tracking.reference_images import ReferenceImages
from visloc_ros.map_tracking.views import GreyImage


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
