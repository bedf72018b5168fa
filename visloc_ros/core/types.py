"""The types that flow through the system: frames in, poses or rejections with a reason out.

Stamps are integer nanoseconds of the image. A missing or bad result is a ``Rejection`` with its reason,
never an identity and never the last pose again. Covariances are (6, 6), order x, y, z, rot x, rot y, rot z,
about the axes of the parent frame (REP 103): ``t = t_hat + d[:3]``, ``R = exp(d[3:]) @ R_hat``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.tangent import lever_jacobian, move_covariance

Image = NDArray[np.uint8]
_EXPECTED = "give uint8 (H, W) grey or (H, W, 3) RGB"


class Reason(str, Enum):
    """Why there is no pose."""

    FEW_FEATURES = "FEW_FEATURES"
    NO_RETRIEVAL = "NO_RETRIEVAL"
    FEW_MATCHES = "FEW_MATCHES"
    FEW_INLIERS = "FEW_INLIERS"
    HINT_EXCLUDES_ALL = "HINT_EXCLUDES_ALL"
    AMBIGUOUS_PLACE = "AMBIGUOUS_PLACE"
    PLANAR_POINTS = "PLANAR_POINTS"
    ODOMETRY_DISAGREES = "ODOMETRY_DISAGREES"
    DEGENERATE_MOTION = "DEGENERATE_MOTION"
    STANDING_STILL = "STANDING_STILL"
    SCALE_UNSET = "SCALE_UNSET"
    STALE = "STALE"
    UNCERTAIN = "UNCERTAIN"
    NO_ODOMETRY = "NO_ODOMETRY"
    NO_ANCHOR = "NO_ANCHOR"
    NO_MAP = "NO_MAP"
    BLURRED = "BLURRED"
    INTRINSICS_MISMATCH = "INTRINSICS_MISMATCH"
    UNKNOWN_INTRINSICS = "UNKNOWN_INTRINSICS"
    RIG_MISMATCH = "RIG_MISMATCH"
    NO_TRANSFORM = "NO_TRANSFORM"
    OVERLOADED = "OVERLOADED"
    FROZEN = "FROZEN"
    OTHER_FRAME = "OTHER_FRAME"
    BAD_MESSAGE = "BAD_MESSAGE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class State(str, Enum):
    """The state of the fused pose: how reliable it is."""

    UNINITIALIZED = "UNINITIALIZED"
    INITIALIZING = "INITIALIZING"
    LOCALIZED = "LOCALIZED"
    DEGRADED = "DEGRADED"
    LOST = "LOST"


class Support(str, Enum):
    """What the fused pose of a frame rests on."""

    NONE = "NONE"
    ANCHOR = "ANCHOR"
    MAP_TRACKING = "MAP_TRACKING"
    ODOMETRY = "ODOMETRY"


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: uint8 (H, W) grey or (H, W, 3) RGB, its camera model, and its stamp in nanoseconds.

    Other usual kinds of pixels (``as_8_bit``) become 8-bit; SourceError for what is no image. ``calibration``
    gives the source of ``camera``; None stands for intrinsics that were given. An image that was turned upright was
    mirrored left to right, where it ``is_mirrored``, and then turned by ``clockwise_turns`` quarter turns.
    """

    stamp_ns: int
    image: Image
    camera: pycolmap.Camera
    name: str = ""
    calibration: CameraCalibration | None = None
    clockwise_turns: int = 0
    is_mirrored: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", as_8_bit(self.image))

    def with_calibration(self, calibration: CameraCalibration) -> Frame:
        """The same image with other intrinsics."""
        return replace(self, camera=calibration.camera, calibration=calibration)

    @cached_property
    def grey(self) -> Image:
        """The image as uint8 (H, W)."""
        if self.image.ndim == 2:
            return self.image
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY))

    @cached_property
    def rgb(self) -> Image:
        """The image as uint8 (H, W, 3)."""
        if self.image.ndim == 3:
            return self.image
        return np.asarray(cv2.cvtColor(self.image, cv2.COLOR_GRAY2RGB))


@dataclass(frozen=True)
class Rejection:
    """No pose for the frame at ``stamp_ns``: the reason, the numbers behind it, and the time it took."""

    stamp_ns: int
    reason: Reason
    counts: Mapping[str, float] = field(default_factory=dict)
    stage_ms: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:g}" for name, value in self.counts.items())
        return f"{self.reason.value}" + (f" ({numbers})" if numbers else "")


@dataclass(frozen=True)
class OdometryScale:
    """Metres in one unit of the odometry, with the standard deviation of its natural logarithm."""

    metres_per_unit: float
    log_sigma: float


@dataclass(frozen=True, eq=False)
class OdometryPose:
    """Unscaled ``odom_from_camera`` of one frame.

    A new ``segment`` starts after a loss: poses of different segments share neither origin nor scale.
    ``covariance`` (6, 6) is of the motion since the segment's first frame, in units of the odometry. ``scale`` and
    ``up_in_odom`` (3,), a unit vector against gravity, are None without sensors that measure them. ``earlier`` are the
    poses, by stamp in its order, of frames that were refused while this segment was being begun. ``is_recovered`` marks
    the first pose after a loss: the motion since the last pose is known only roughly.
    """

    stamp_ns: int
    odom_from_camera: SE3
    segment: int
    num_tracked: int
    is_keyframe: bool = False
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    covariance: Array | None = None
    scale: OdometryScale | None = None
    up_in_odom: Array | None = None
    earlier: Mapping[int, SE3] = field(default_factory=dict)
    is_recovered: bool = False


@dataclass(frozen=True, eq=False)
class LoopClosure:
    """Odometry has recognised an earlier place: the transform between its cameras then and now, in one segment.

    ``earlier_from_later`` takes points of the later camera into the earlier one, each in odometry's units at that
    camera: its scale is what the scale has drifted by. ``covariance`` (7, 7) is of the position in the earlier camera
    (its odometry units), of the rotation vector about that camera's axes and of the logarithm of the scale.
    """

    earlier_ns: int
    later_ns: int
    earlier_from_later: Sim3
    covariance: Array


@dataclass(frozen=True)
class MapIdentity:
    """Which map a pose refers to, whether its units are metres, and whether its z axis points up.

    ``path`` is where it lies on the machine that searches it; empty where that is not known. ``on_earth`` is where its
    origin is on the earth, None where that is not known. ``frame`` is what its poses are in, None where that is not
    known, as in recordings of older versions; ``model_id`` identifies its images and points.
    """

    name: str
    metric: bool
    gravity_aligned: bool = False
    path: str = ""
    on_earth: GeoReference | None = None
    frame: CoordinateFrame | None = None
    model_id: str = ""

    def shares_frame(self, other: MapIdentity) -> bool:
        """Whether a pose in one map is a pose in the other; those of unknown frames share one by name and place."""
        if self.frame is None and other.frame is None:
            return (self.name, self.on_earth) == (other.name, other.on_earth)
        return self.frame == other.frame

    def from_map(self, other: MapIdentity) -> Sim3 | None:
        """``self_from_other``: how the frame of another map lies in that of this one; None where that is not known."""
        if self.shares_frame(other):
            return Sim3.identity()
        return self.frame.from_frame(other.frame) if self.frame is not None and other.frame is not None else None


@dataclass(frozen=True, eq=False)
class AnchorPose:
    """Absolute ``map_from_camera`` of one frame found in the map, with what it rests on.

    ``calibration`` is the camera that the pose holds for, which may be estimated; None where that is not known.
    ``map_covariance`` (6, 6) is the part of ``covariance`` that anchors nearby share: errors of the map and of the
    calibration; None where that is not known. ``probability`` is that of the pose being right, given what it rests on;
    None where that is not known. ``inlier_landmarks`` (N,) are the landmarks or instances of the map that the inlier
    points are of, from 1 on, 0 for none; empty where the search was by neither. ``attempts`` is how many parts of the
    map were tried until then.
    """

    stamp_ns: int
    map_from_camera: SE3
    covariance: Array
    num_inliers: int
    num_matches: int
    reprojection_error_px: float
    inlier_pixels: Array = field(default_factory=lambda: np.empty((0, 2)))
    inlier_points: Array = field(default_factory=lambda: np.empty((0, 3)))
    references: tuple[str, ...] = ()
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    calibration: CameraCalibration | None = None
    map_covariance: Array | None = None
    probability: float | None = None
    inlier_landmarks: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    attempts: int = 1

    @property
    def own_covariance(self) -> Array:
        """The part (6, 6) of the covariance that anchors nearby do not share; the whole one where no part is known."""
        return self.covariance if self.map_covariance is None else self.covariance - self.map_covariance

    def of_other(self, camera_from_other: SE3) -> AnchorPose:
        """The pose as one of another camera on the body, of which no inliers are known."""
        lever = self.map_from_camera.rotation @ camera_from_other.translation
        return replace(
            self,
            map_from_camera=self.map_from_camera @ camera_from_other,
            covariance=move_covariance(self.covariance, lever),
            map_covariance=None if self.map_covariance is None else move_covariance(self.map_covariance, lever),
            inlier_pixels=np.empty((0, 2)),
            inlier_points=np.empty((0, 3)),
            inlier_landmarks=np.empty(0, np.int32),
            calibration=None,
        )


class Decision(str, Enum):
    """The decision on a measurement that is not refused."""

    ACCEPTED = "ACCEPTED"
    PENDING = "PENDING"


ACCEPTED, PENDING = Decision.ACCEPTED, Decision.PENDING
Verdict = Decision | Rejection
"""ACCEPTED; PENDING until other measurements decide; or the Rejection that refuses a measurement."""


@dataclass(frozen=True, eq=False)
class Anchor:
    """The result of searching one image in a map: an absolute pose there, or the reason why there is none."""

    result: AnchorPose | Rejection
    map: MapIdentity


UNCONFIRMED_S = "unconfirmed_s"
"""Count of a RIG_MISMATCH of followed points: the seconds since two cameras last agreed."""


@dataclass(frozen=True, eq=False)
class TrackedPose:
    """``map_from_camera`` of one frame from map points that an accepted anchor saw and that were followed since.

    It shares the error of the anchor at ``anchor_stamp_ns``: ``covariance`` (6, 6) is of the whole pose,
    ``covariance_since_anchor`` (6, 6) of what the motion since that anchor's image adds, the anchor taken as true.
    ``inlier_points`` (N, 3) hold the pose, in the map; empty where they are not known. ``frame`` is that of the map,
    None where it is not known, as in recordings of older versions. ``anchor_share`` (6, 6) times the anchor's error,
    moved here, is in the pose: all of it, unless the map's own images corrected that.
    """

    stamp_ns: int
    map_from_camera: SE3
    covariance: Array
    anchor_stamp_ns: int
    covariance_since_anchor: Array
    num_inliers: int
    num_followed: int
    reprojection_error_px: float
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    inlier_points: Array = field(default_factory=lambda: np.empty((0, 3)))
    frame: CoordinateFrame | None = None
    anchor_share: Array = field(default_factory=lambda: np.eye(6))

    def of_other(self, camera_from_other: SE3) -> TrackedPose:
        """The pose as one of another camera on the body."""
        lever = self.map_from_camera.rotation @ camera_from_other.translation
        return replace(
            self,
            map_from_camera=self.map_from_camera @ camera_from_other,
            covariance=move_covariance(self.covariance, lever),
            covariance_since_anchor=move_covariance(self.covariance_since_anchor, lever),
            anchor_share=lever_jacobian(lever) @ self.anchor_share @ lever_jacobian(-lever),
        )


@dataclass(frozen=True, eq=False)
class Estimate:
    """The fused answer for one frame; poses are None until they are true.

    ``map_from_odom`` and ``odom_from_camera`` are metric when the map is (``metric``); ``covariance`` belongs
    to ``map_from_camera``. ``distance_since_fix`` is in map units, ``age_ns`` since the last accepted anchor's
    image, ``anchor_probability`` that of this anchor being right. ``support``: points of the map followed into this
    frame or one just before it, a recent anchor, or odometry alone. ``motion_covariance`` (6, 6), about the axes of the
    map, is of the motion of ``odom_from_camera`` since the frame before; None where that was not measured.
    """

    stamp_ns: int
    state: State
    reason: Reason | None = None
    map_from_odom: SE3 | None = None
    odom_from_camera: SE3 | None = None
    covariance: Array | None = None
    scale: float | None = None
    metric: bool = False
    age_ns: int | None = None
    distance_since_fix: float | None = None
    anchor_probability: float | None = None
    support: Support = Support.NONE
    motion_covariance: Array | None = None

    @cached_property
    def map_from_camera(self) -> SE3 | None:
        """``map_from_odom @ odom_from_camera``, or None where either is not known."""
        if self.map_from_odom is None or self.odom_from_camera is None:
            return None
        return self.map_from_odom @ self.odom_from_camera


def as_8_bit(image: Any) -> NDArray[np.uint8]:
    """The pixels as contiguous uint8 (H, W) or (H, W, 3). Raises SourceError for what is no image.

    uint16 keeps the upper eight of the bits in use (``BitDepth``); floating-point numbers go from 0 to 1; an alpha
    channel is left out.
    """
    if not isinstance(image, np.ndarray):
        raise SourceError(f"the image is of the type {type(image).__name__}: {_EXPECTED} as a NumPy array")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 3 and image.shape[2] == 4:
        image = image[:, :, :3]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or not image.size:
        raise SourceError(f"the image has the shape {image.shape}: {_EXPECTED}")
    return np.ascontiguousarray(image if image.dtype == np.uint8 else _scaled(image))


def _scaled(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint16:
        return BitDepth().to_8_bit(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise SourceError(f"the image holds numbers of the type {image.dtype}: {_EXPECTED}")
    if not (image.min() >= 0.0 and image.max() <= 1.0):  # not so for NaN either
        raise SourceError(f"the image holds numbers from {image.min():g} to {image.max():g}: {_EXPECTED}, or 0 to 1")
    return np.round(255.0 * image).astype(np.uint8)


class Mode(str, Enum):
    """The sources of the pose; ``hloc`` is anchors only, as from the toolbox of that name."""

    FUSED = "fused"
    ANCHORS = "hloc"
    ODOM = "odom"
