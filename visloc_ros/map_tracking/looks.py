"""Looks at the map's pictures a few times a second; in between, the last one goes along with the followed poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.localization.view_change import view_change
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.locating import Located
from visloc_ros.map_tracking.map_errors import PoseErrors
from visloc_ros.map_tracking.map_pictures import MapPictures
from visloc_ros.map_tracking.views import Picture
from visloc_ros.odometry.klt.covariance import carried


@dataclass(frozen=True, eq=False)
class Told:
    """``map_from_camera`` as the map tells it, with its covariance (6, 6)."""

    map_from_camera: SE3
    covariance: Array


@dataclass(frozen=True, eq=False)
class _Look:
    """What the pictures told of an image, and how it was located by what is followed."""

    told: Told
    followed: Located

    def carried_on(self, followed: Located, errors: PoseErrors) -> Told:
        """The same of a later image: moved as the followed pose did, which is known as well as both its ends are."""
        before, now = self.followed.map_from_camera, followed.map_from_camera
        pose = self.told.map_from_camera @ (before.inverse @ now)
        change = view_change(before, 1.0 / float(np.median(followed.seen.inverse_depths)), now)
        motion = self.followed.fit.covariance + followed.fit.covariance + errors.over(now.rotation, change)
        moved = carried(self.told.covariance, pose.translation - self.told.map_from_camera.translation)
        return Told(pose, np.asarray(moved + motion))


class MapLooks:
    """Holds followed poses to the map without looking at its pictures in every frame."""

    def __init__(self, pictures: MapPictures, errors: PoseErrors, config: MapTrackingConfig) -> None:
        self._pictures, self._errors = pictures, errors
        self._period_ns = round(config.map_pictures_period_s * NANOSECONDS)
        self.forget()

    def forget(self) -> None:
        """Look anew at the next image: it will be followed by other views, which the last look says nothing about."""
        self._last: _Look | None = None
        self._looked_ns: int | None = None

    def tell(self, picture: Picture, followed: Located) -> Told | None:
        """What the map tells of an image that was located otherwise, from a look at it or from the last one."""
        if self._looked_ns is None or picture.stamp_ns - self._looked_ns >= self._period_ns:
            self._looked_ns = picture.stamp_ns
            told = self.look(picture, followed.map_from_camera)
            if told is not None:
                self._last = _Look(told[0], followed)
                return told[0]
        return None if self._last is None else self._last.carried_on(followed, self._errors)

    def look(self, picture: Picture, guess: SE3) -> tuple[Told, Located] | None:
        """What the pictures tell of an image near ``map_from_camera``; None where they do not."""
        located = self._pictures.locate(picture, guess)
        return (
            None if located is None else (Told(located.map_from_camera, self._pictures.covariance_of(located)), located)
        )
