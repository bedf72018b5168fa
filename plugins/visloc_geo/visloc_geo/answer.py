"""The answer to where a photo was taken, on the earth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from visloc_geo.solving.types import REASON_TEXTS, BestTag, EnuPose, GeoRejection, PhotoPose
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.geometry import Array
from visloc_ros.core.result_mapping import pose_to_mapping
from visloc_ros.core.wgs84 import EnuFrame


@dataclass(frozen=True, eq=False)
class GeoAnswer:
    """The pose of a photo in the local frame ``frame``, or why there is none, and the time that each stage took.

    ``calibration`` gives the source of the camera that the pose holds for, ``retrieved`` are the views that look like
    the photo, the most similar ones first.
    """

    stamp_ns: int
    name: str
    frame: EnuFrame
    result: PhotoPose | GeoRejection
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    calibration: CameraCalibration | None = None
    retrieved: tuple[str, ...] = ()

    @property
    def pose(self) -> PhotoPose | None:
        """The pose; None where the photo is not located."""
        return self.result if isinstance(self.result, PhotoPose) else None

    @property
    def geodetic(self) -> tuple[float, float, float] | None:
        """Latitude and longitude in degrees and altitude in metres; None where the photo is not located."""
        return None if self.pose is None else degrees_of(self.frame, self.pose.position)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; positions in metres are east, north and up of ``origin``."""
        values: dict[str, Any] = {"name": self.name, "stamp_ns": self.stamp_ns, "success": self.pose is not None}
        values["origin"] = [self.frame.latitude, self.frame.longitude, self.frame.altitude]
        values["timings_ms"] = dict(self.stage_ms)
        best = self.result.best_tag
        values["best_tag"] = None if best is None else self._tag_values(best)
        if isinstance(self.result, GeoRejection):
            reason = self.result.reason
            return {**values, "reason": reason.value, "text": REASON_TEXTS[reason], "counts": dict(self.result.counts)}
        return {**values, **self._pose_values(self.result)}

    def _pose_values(self, pose: PhotoPose) -> dict[str, Any]:
        return {
            "kind": pose.kind.value,
            **pose_values(self.frame, pose),
            "num_inliers": len(pose.inliers),
            "num_matches": pose.num_matches,
            "reprojection_error_px": pose.reprojection_error_px,
            "references": list(pose.references),
            "wrong_headings": list(pose.wrong_headings),
            "camera": None if self.calibration is None else self.calibration.to_mapping(),
        }

    def _tag_values(self, tag: BestTag) -> dict[str, Any]:
        latitude, longitude, _ = degrees_of(self.frame, tag.position)
        return {
            "view": tag.view,
            "latitude": latitude,
            "longitude": longitude,
            "sigma_m": tag.sigma_m,
            "num_inliers": tag.num_inliers,
        }


def pose_values(frame: EnuFrame, pose: EnuPose) -> dict[str, Any]:
    """Plain values of a pose in a local frame for JSON."""
    latitude, longitude, altitude = degrees_of(frame, pose.position)
    heading, pitch, roll = pose.angles_deg or (None, None, None)
    known = 6 if pose.rotation is not None else 3  # of a pose without orientation JSON has no NaN
    return {
        "latitude": latitude,
        "longitude": longitude,
        "altitude": altitude,
        "horizontal_sigma_m": pose.horizontal_sigma_m,
        "heading_deg": heading,
        "heading_sigma_deg": pose.heading_sigma_deg,
        "pitch_deg": pitch,
        "roll_deg": roll,
        "enu_position": pose.position.tolist(),
        "enu_from_camera": None if pose.enu_from_camera is None else pose_to_mapping(pose.enu_from_camera),
        "covariance": pose.covariance[:known, :known].tolist(),
    }


def degrees_of(frame: EnuFrame, east_north_up: Array) -> tuple[float, float, float]:
    """Latitude and longitude in degrees and altitude in metres of a place (3,) in a local frame."""
    latitude, longitude, altitude = frame.to_geodetic(east_north_up)[0]
    return float(latitude), float(longitude), float(altitude)
