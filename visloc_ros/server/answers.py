"""The server's answers, as in its OpenAPI page."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.map_folder import MapEntry
from visloc_ros.core.result_mapping import result_from_mapping, result_to_mapping
from visloc_ros.core.types import Anchor, MapIdentity, Rejection

CONVENTION = (
    "map_from_camera turns and moves points of the camera's frame (x right, y down, z ahead) into the map's: a unit "
    "quaternion and a translation in units of the map; the covariance is of x, y, z, rot x, rot y, rot z about its axes"
)


class Pose(BaseModel):
    """A unit quaternion and a translation."""

    qw: float
    qx: float
    qy: float
    qz: float
    tx: float
    ty: float
    tz: float


class LocalizeAnswer(BaseModel):
    """A pose with what it rests on, or the reason why there is none."""

    success: bool
    map: str = Field(description="name of the map that was searched")
    metric: bool = Field(description="whether one unit of the map is one metre")
    gravity_aligned: bool = Field(description="whether its z axis points up")
    map_from_camera: Pose | None = None
    convention: str = CONVENTION
    covariance: list[list[float]] | None = Field(default=None, description="6 x 6")
    probability: float | None = Field(default=None, description="of the pose being right")
    map_covariance: list[list[float]] | None = Field(
        default=None, description="the part of it that poses nearby share: errors of the map and of the calibration"
    )
    num_inliers: int = 0
    num_matches: int = 0
    reprojection_error_px: float | None = None
    camera: dict[str, Any] | None = Field(default=None, description="the intrinsics that the pose holds for")
    references: list[str] = Field(default=[], description="images of the map that it rests on")
    inlier_pixels: list[list[float]] | None = Field(
        default=None, description="on request: N x 2, the centre of the top-left pixel is (0.5, 0.5)"
    )
    inlier_points: list[list[float]] | None = Field(default=None, description="on request: the points there, N x 3")
    inlier_landmarks: list[int] | None = Field(
        default=None,
        description="on request: the landmark or instance of each, from 1, 0 for none",
    )
    reason: str | None = Field(default=None, description="why there is no pose")
    advice: str | None = Field(default=None, description="what to do about it")
    counts: dict[str, float] = {}
    timings_ms: dict[str, float] = {}

    @classmethod
    def of(cls, anchor: Anchor, map_name: str, with_inliers: bool) -> LocalizeAnswer:
        """The answer to a search in the map of this name here."""
        result = anchor.result
        advice = ADVICE[result.reason] if isinstance(result, Rejection) else None
        values = result_to_mapping(result, with_inliers)
        del values["stamp_ns"]
        metric, gravity_aligned = anchor.map.metric, anchor.map.gravity_aligned
        return cls(map=map_name, metric=metric, gravity_aligned=gravity_aligned, advice=advice, **values)

    def anchor(self, stamp_ns: int) -> Anchor:
        """The result as one for the image of a stamp. Raises KeyError, TypeError and ValueError."""
        identity = MapIdentity(self.map, self.metric, self.gravity_aligned)
        return Anchor(result_from_mapping(self.model_dump(), stamp_ns), identity)


class MapStatus(BaseModel):
    """A map in the server's folder."""

    name: str
    state: str = Field(description="ready, failed, queued or building")
    problem: str = Field(default="", description="why it cannot be used")
    in_memory: bool = False
    images: int = 0
    points: int = 0
    metric: bool = False
    gravity_aligned: bool = False
    size_bytes: int = 0

    @classmethod
    def of(cls, entry: MapEntry, in_memory: bool) -> MapStatus:
        """The answer about an entry of the folder, without its path."""
        manifest = entry.manifest
        if manifest is None:
            return cls(name=entry.path.name, state="failed", problem="it cannot be read: see the server's log")
        return cls(
            name=entry.path.name,
            state="ready",
            in_memory=in_memory,
            images=manifest.counts.get("images", 0),
            points=manifest.counts.get("points", 0),
            metric=manifest.metric,
            gravity_aligned=manifest.gravity_aligned,
            size_bytes=entry.size,
        )


class Health(BaseModel):
    """Whether the server works."""

    status: str = "ok"
    version: str
    waiting: int = Field(description="searches that are not answered yet")


class Problem(BaseModel):
    """Why a request was refused, and what to do."""

    detail: str


NO_TOKEN: dict[int | str, dict[str, Any]] = {401: {"model": Problem, "description": "no token, or a wrong one"}}
"""Possible answers of every route with a token, for OpenAPI."""
