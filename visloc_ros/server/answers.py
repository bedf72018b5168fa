"""What the server answers, as its OpenAPI page shows it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.map_folder import MapEntry
from visloc_ros.core.result_mapping import result_to_mapping
from visloc_ros.core.types import AnchorPose, Rejection

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
    map_from_camera: Pose | None = None
    convention: str = CONVENTION
    covariance: list[list[float]] | None = Field(default=None, description="6 x 6")
    probability: float | None = Field(default=None, description="of the pose being right")
    num_inliers: int = 0
    num_matches: int = 0
    reprojection_error_px: float | None = None
    camera: dict[str, Any] | None = Field(default=None, description="the intrinsics that the pose holds for")
    references: list[str] = Field(default=[], description="images of the map that it rests on")
    reason: str | None = Field(default=None, description="why there is no pose")
    advice: str | None = Field(default=None, description="what to do about it")
    counts: dict[str, float] = {}
    timings_ms: dict[str, float] = {}

    @classmethod
    def of(cls, result: AnchorPose | Rejection, map_name: str, metric: bool) -> LocalizeAnswer:
        """The answer to a search."""
        advice = ADVICE[result.reason] if isinstance(result, Rejection) else None
        values = {name: value for name, value in result_to_mapping(result).items() if name in cls.model_fields}
        return cls(map=map_name, metric=metric, advice=advice, **values)


class MapStatus(BaseModel):
    """A map in the server's folder."""

    name: str
    state: str = Field(description="ready, or failed")
    problem: str = Field(default="", description="why it cannot be used")
    in_memory: bool = False
    images: int = 0
    points: int = 0
    metric: bool = False
    gravity_aligned: bool = False
    size_bytes: int = 0

    @classmethod
    def of(cls, entry: MapEntry, in_memory: bool) -> MapStatus:
        """What is told of an entry of the folder; nothing of where it lies."""
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
