"""What locating a photo starts from, and its answer.

All poses are in one local frame east, north, up (``core.wgs84.EnuFrame``), in metres. Covariances (6, 6) are in the
order of ``core.types``: position, then a rotation vector, both about the axes of that frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_geo.orientation import angles_of, rotation_of
from visloc_geo.view import View
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geo_reference import GEO_SIGMA_M, HEIGHT_FACTOR
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.features.types import Matches
from visloc_ros.sources.measurements import COMPASS_SIGMA_DEG

HAND_HELD_TILT_SIGMA_DEG = 5.0
"""Pitch and roll of photos that people take upright: 2 and 1 degrees in street_lund, more at high houses."""

PANORAMA_TILT_SIGMA_DEG = 1.0
"""Pitch and roll of views cut from a panorama that its maker has levelled."""

UNKNOWN_HEIGHT_SIGMA_M = 10.0
"""Of a view without an altitude, whose tag has that of the frame: streets within a walk rise by about as much."""


@dataclass(frozen=True, eq=False)
class Tag:
    """Where a camera is by its metadata: what is not known is None.

    ``position`` (3,) and ``rotation`` (3, 3) are of ``enu_from_camera``; standard deviations: of the position along
    each horizontal axis and upwards, of the heading, and of pitch and roll. A camera without a rotation is taken to be
    upright within ``tilt_sigma_deg``. Of a rotation with an infinite ``heading_sigma_deg`` only pitch and roll count.
    """

    position: Array | None = None
    rotation: Array | None = None
    position_sigma_m: float = GEO_SIGMA_M
    height_sigma_m: float = GEO_SIGMA_M
    heading_sigma_deg: float = COMPASS_SIGMA_DEG
    tilt_sigma_deg: float = HAND_HELD_TILT_SIGMA_DEG

    @property
    def has_heading(self) -> bool:
        """Whether the heading of the rotation counts."""
        return self.rotation is not None and bool(np.isfinite(self.heading_sigma_deg))

    @staticmethod
    def of_photo(photo: View, frame: EnuFrame) -> Tag:
        """What a photo's own metadata say in a local frame; an unknown height is not measured."""
        tag = Tag.of_view(photo, frame)
        is_known = photo.position is not None and photo.position.altitude is not None
        return tag if is_known else replace(tag, height_sigma_m=np.inf)

    @staticmethod
    def of_view(view: View, frame: EnuFrame) -> Tag:
        """The tag of a view in a local frame."""
        at, angles = view.position, view.orientation
        position, position_sigma, height_sigma = None, GEO_SIGMA_M, UNKNOWN_HEIGHT_SIGMA_M
        if at is not None:
            altitude = frame.altitude if at.altitude is None else at.altitude
            position = frame.from_geodetic([at.latitude, at.longitude, altitude])[0]
            position_sigma = GEO_SIGMA_M if at.sigma is None else at.sigma
            height_sigma = position_sigma * (1.0 if view.is_registered else HEIGHT_FACTOR)
            if at.altitude is None:
                height_sigma = UNKNOWN_HEIGHT_SIGMA_M
        rotation, heading_sigma = None, COMPASS_SIGMA_DEG
        if angles is not None:
            rotation = rotation_of(angles.heading_deg, angles.pitch_deg, angles.roll_deg)
            heading_sigma = COMPASS_SIGMA_DEG if angles.sigma_deg is None else angles.sigma_deg
        tilt_sigma = HAND_HELD_TILT_SIGMA_DEG if view.panorama is None else PANORAMA_TILT_SIGMA_DEG
        return Tag(position, rotation, position_sigma, height_sigma, heading_sigma, tilt_sigma)


@dataclass(frozen=True, eq=False)
class Reference:
    """A geotagged view that may show what the query shows.

    ``keypoints`` (M, 2) in pixels of ``camera``; ``matches`` (K, 2) are rows of the query's keypoints and of these,
    ``confidence`` (K,) from 0 to 1. The tag has a position. Views with the same ``panorama`` share one centre and the
    error of their tags; None for a view of its own.
    """

    name: str
    camera: pycolmap.Camera
    tag: Tag
    keypoints: Array
    matches: NDArray[np.intp]
    confidence: Array
    panorama: str | None = None

    @staticmethod
    def of_view(view: View, tag: Tag, features: LocalFeatures, matches: Matches) -> Reference:
        """A view with this tag and features, and a query's matches with it; the view has a camera."""
        assert view.camera is not None
        pixels, confidence = features.keypoints.astype(np.float64), matches.scores.astype(np.float64)
        return Reference(view.name, view.camera, tag, pixels, matches.pairs.astype(np.intp), confidence, view.panorama)


FOCAL_LENGTH_RATIO = "focal_length_ratio"
"""Count of an INTRINSICS_MISMATCH: the focal length that the points show, divided by the photo's."""


class GeoReason(str, Enum):
    """Why a photo was not located."""

    FEW_FEATURES = "FEW_FEATURES"
    NOTHING_ALIKE = "NOTHING_ALIKE"
    ONE_FAR_VIEW = "ONE_FAR_VIEW"
    NO_REFERENCES = "NO_REFERENCES"
    FEW_MATCHES = "FEW_MATCHES"
    NO_PARALLAX = "NO_PARALLAX"
    FEW_INLIERS = "FEW_INLIERS"
    NARROW_INLIERS = "NARROW_INLIERS"
    NO_REGULAR_SOLUTION = "NO_REGULAR_SOLUTION"
    INTRINSICS_MISMATCH = "INTRINSICS_MISMATCH"
    TAGS_CONTRADICT = "TAGS_CONTRADICT"
    VIEWS_CONTRADICT = "VIEWS_CONTRADICT"
    AMBIGUOUS_PLACE = "AMBIGUOUS_PLACE"
    MIRRORED = "MIRRORED"


REASON_TEXTS: Mapping[GeoReason, str] = {
    GeoReason.ONE_FAR_VIEW: "the views determine no pose, and none is so alike that the photo was taken near it",
    GeoReason.NOTHING_ALIKE: "no view of the database looks like the photo",
    GeoReason.FEW_FEATURES: "the photo shows too little that could be recognised",
    GeoReason.NO_REFERENCES: "no geotagged view was given to compare the photo with",
    GeoReason.FEW_MATCHES: "no view shares enough matches with the photo that agree with one motion of the camera",
    GeoReason.NO_PARALLAX: "the views that agree are not from places far enough apart",
    GeoReason.FEW_INLIERS: "too few points agree with one pose of the photo",
    GeoReason.NARROW_INLIERS: "the points that agree cover too small a part of the photo",
    GeoReason.NO_REGULAR_SOLUTION: "the points that agree do not determine a pose",
    GeoReason.INTRINSICS_MISMATCH: "the points that agree show another focal length, which gives no pose either, or "
    "that the image is a part of a photo: give the whole one",
    GeoReason.TAGS_CONTRADICT: "the tags of the views contradict each other far beyond their errors",
    GeoReason.VIEWS_CONTRADICT: "what the views show of each other contradicts the pose that they give the photo",
    GeoReason.AMBIGUOUS_PLACE: "several places look like the photo, and no position of its own decides between them",
    GeoReason.MIRRORED: "the photo shows more of what the views show if left and right are exchanged: it is mirrored",
}


@dataclass(frozen=True, eq=False)
class BestTag:
    """The nearest of the views that share many matches with the photo: its tag alone is the simplest answer.

    ``sigma_m`` is the standard deviation of the photo's position along an axis if it were the view's.
    """

    view: str
    position: Array
    sigma_m: float
    num_inliers: int


class GeoKind(str, Enum):
    """What a pose rests on: points seen from several places, or the tag of one view."""

    SOLVED = "solved"
    TAG = "tag"


class EnuPose:
    """A pose ``enu_from_camera`` and its covariance, in other words."""

    position: Array
    rotation: Array | None
    covariance: Array

    @property
    def enu_from_camera(self) -> SE3 | None:
        """The pose, None where the orientation is not known."""
        return None if self.rotation is None else SE3(self.rotation, self.position)

    @property
    def horizontal_sigma_m(self) -> float:
        """Standard deviation along the worse of all horizontal directions."""
        return float(np.sqrt(np.linalg.eigvalsh(self.covariance[:2, :2])[-1]))

    @property
    def angles_deg(self) -> tuple[float, float, float] | None:
        """Heading clockwise from true north, pitch and roll; None where the orientation is not known."""
        return None if self.rotation is None else angles_of(self.rotation)

    @property
    def heading_sigma_deg(self) -> float | None:
        """Standard deviation of the heading; None where the orientation is not known."""
        return None if self.rotation is None else float(np.degrees(np.sqrt(self.covariance[5, 5])))


@dataclass(frozen=True, eq=False)
class PhotoPose(EnuPose):
    """Where a photo was taken: ``position`` (3,) and ``rotation`` (3, 3) of ``enu_from_camera``, covariance (6, 6).

    A pose of the kind ``TAG`` has the position of the best tag, and its covariance is as large as views are apart;
    where the view's heading is not known either, ``rotation`` is None and the covariance's last rows and columns are
    NaN. ``inliers`` are the rows of the query's keypoints that agree, ``references`` the views that they were seen in.
    ``log_focal`` is the logarithm of the focal length, divided by the camera's, and ``focal_sigma`` its standard
    deviation; both are 0 where that was given exactly. ``wrong_headings`` are the views whose headings were left out,
    because the others or the positions contradict them. ``views`` are the poses ``enu_from_camera`` that were estimated
    of the views, by name, and ``view_sigma_m`` is the usual standard deviation of their positions along an axis.
    """

    kind: GeoKind
    position: Array
    rotation: Array | None
    covariance: Array
    best_tag: BestTag
    inliers: NDArray[np.intp]
    num_matches: int
    references: tuple[str, ...]
    reprojection_error_px: float
    tag_error_ratio: float = 1.0
    log_focal: float = 0.0
    focal_sigma: float = 0.0
    wrong_headings: tuple[str, ...] = ()
    views: Mapping[str, SE3] = field(default_factory=dict)
    view_sigma_m: float = 0.0


@dataclass(frozen=True, eq=False)
class GeoRejection:
    """No pose: the reason, the numbers behind it, and the best tag where any view has enough matches."""

    reason: GeoReason
    counts: Mapping[str, float] = field(default_factory=dict)
    best_tag: BestTag | None = None

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:g}" for name, value in self.counts.items())
        return f"{self.reason.value}: {REASON_TEXTS[self.reason]}" + (f" ({numbers})" if numbers else "")
