"""A walk: consecutive photos, or frames of a video, located one by one and then together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pycolmap

from visloc_geo.answer import GeoAnswer, degrees_of, pose_values
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.photo_motion import DescribedPhoto, motion_of_photos
from visloc_geo.sequence import TrackPose, locate_together
from visloc_geo.view import View
from visloc_ros.core.advice import ADVICE
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.progress import Progress
from visloc_ros.core.types import Frame, Reason, Rejection
from visloc_ros.core.wgs84 import EnuFrame

MOST_PHOTOS = 1000
"""Of a walk: their features take half a gigabyte."""


@dataclass(frozen=True, eq=False)
class Track:
    """The poses of photos that were located together, in the local frame ``frame``, each beside its own answer."""

    frame: EnuFrame
    photos: tuple[tuple[GeoAnswer, TrackPose], ...]

    @property
    def num_own(self) -> int:
        """Number of photos whose own answers support the track."""
        return sum(pose.has_answer for _, pose in self.photos)

    @property
    def places(self) -> list[tuple[float, float]]:
        """Latitudes and longitudes in degrees."""
        return [degrees_of(self.frame, pose.position)[:2] for _, pose in self.photos]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "photos": len(self.photos),
            "by_own_answers": self.num_own,
            "poses": [
                {
                    "name": answer.name,
                    "stamp_ns": answer.stamp_ns,
                    "has_answer": pose.has_answer,
                    **pose_values(self.frame, pose),
                }
                for answer, pose in self.photos
            ],
        }


class Walk:
    """Locates photos one by one, in the order of their time, and keeps of each what locates all of them together."""

    def __init__(self, localizer: GeoLocalizer) -> None:
        self.answers: list[GeoAnswer] = []
        self._localizer = localizer
        self._photos: list[DescribedPhoto] = []

    def locate(self, frame: Frame, prior: View | None = None) -> GeoAnswer:
        """Find where the next photo was taken, by itself, as ``GeoLocalizer.locate`` does."""
        query = self._localizer.extract(frame)
        self._photos.append(DescribedPhoto(len(self._photos), frame.camera, query.features))
        self.answers.append(self._localizer.solve(query, prior))
        return self.answers[-1]

    def track(self, progress: Progress | None = None) -> Track | Rejection:
        """Locate the photos so far together; a Rejection says why they make no track."""
        photos = [replace(photo, camera=self._estimated(photo.camera)) for photo in self._photos]
        motion = motion_of_photos(photos, self._localizer.matcher, progress)
        if not motion:
            return Rejection(0, Reason.NO_ODOMETRY, {"photos": float(len(self._photos))})
        found = locate_together(motion, {row: answer.result for row, answer in enumerate(self.answers)})
        if isinstance(found, Rejection):
            return found
        return Track(self._localizer.frame, tuple((self.answers[one.stamp_ns], one) for one in found))

    def _estimated(self, camera: pycolmap.Camera) -> pycolmap.Camera:
        """A camera with the focal length by the answers of its photos; as it is where that is known."""
        poses = (one.pose for photo, one in zip(self._photos, self.answers, strict=True) if photo.camera is camera)
        found = [pose.log_focal for pose in poses if pose is not None and pose.focal_sigma]
        if not found:
            return camera
        return with_focal_length(camera, camera.mean_focal_length() * float(np.exp(np.median(found))))


_WHY: Mapping[Reason, str] = {
    Reason.NO_ODOMETRY: "consecutive photos show too little of the same; take more of them",
    Reason.SCALE_UNSET: "fewer than three photos have answers of their own that agree with the motion between them",
}


def why_no_track(rejection: Rejection) -> str:
    """The reason in a sentence."""
    return _WHY.get(rejection.reason, ADVICE[rejection.reason])
