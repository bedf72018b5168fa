"""Consecutive photos located together: their answers, and the motion between them, make one track.

Odometry, or a reconstruction of the photos themselves, gives the motion up to its scale. The answers of single photos
and that motion are smoothed as anchors and odometry of a finished recording are (``fusion.smooth``): an answer that the
motion contradicts is rejected, a photo without an answer gets a pose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_geo.solving.types import EnuPose, GeoKind, GeoRejection, PhotoPose
from visloc_ros.core.config import nest
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, OdometryPose, Rejection
from visloc_ros.fusion import FusionConfig, RecordedMeasurements, smooth

_CONFIG = FusionConfig.from_mapping(
    nest(
        {
            "alignment.max_scale_sigma": 0.7,  # a few photos with errors of metres; the answers after them correct it
            "anchor_noise.correlation_distance": 15.0,  # neighbouring photos share views, and the errors of their tags
            "max_gap_s": 1e9,  # photos have no rate
        }
    )
)
_SHARE_OF_TAGS = 0.5  # of the variance of an answer: what it has in common with those of neighbouring photos
_PROBABILITY = 0.97  # of an answer being right


@dataclass(frozen=True, eq=False)
class TrackPose(EnuPose):
    """``position`` (3,) and ``rotation`` (3, 3) of ``enu_from_camera`` of a photo on a track, covariance (6, 6).

    ``has_answer`` says whether the photo's own answer supports it.
    """

    stamp_ns: int
    position: Array
    rotation: Array
    covariance: Array
    has_answer: bool

    @property
    def enu_from_camera(self) -> SE3:
        """The pose."""
        return SE3(self.rotation, self.position)


def locate_together(
    motion: Sequence[OdometryPose], answers: Mapping[int, PhotoPose | GeoRejection]
) -> list[TrackPose] | Rejection:
    """Smooth the answers of photos, by their stamps, with the motion between them.

    Gives a pose for every photo that the motion is known of, in its order. A Rejection says why there is no track:
    fewer than three answers agree, or the camera hardly moved beside their errors.
    """
    measurements = RecordedMeasurements(odometry=list(motion), anchors=list(_anchors(answers)))
    track = smooth(measurements, _CONFIG, metric=False, gravity_aligned=True)
    if isinstance(track, Rejection):
        return track
    return [
        TrackPose(
            one.stamp_ns,
            one.map_from_camera.translation,
            one.map_from_camera.rotation,
            one.covariance,
            one.stamp_ns in track.anchor_stamps_ns,
        )
        for one in track.poses
    ]


def _anchors(answers: Mapping[int, PhotoPose | GeoRejection]) -> Iterator[AnchorPose]:
    """Answers that were solved; the place of a tag alone says little about the place of the photo."""
    for stamp_ns, answer in answers.items():
        if not isinstance(answer, PhotoPose) or answer.kind is not GeoKind.SOLVED or answer.enu_from_camera is None:
            continue
        yield AnchorPose(
            stamp_ns,
            answer.enu_from_camera,
            answer.covariance,
            len(answer.inliers),
            answer.num_matches,
            answer.reprojection_error_px,
            map_covariance=_SHARE_OF_TAGS * np.asarray(answer.covariance),
            probability=_PROBABILITY,
        )
