"""The server's answers, as in its OpenAPI page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, Field

from visloc_ros.core.advice import ADVICE
from visloc_ros.core.coordinate_frame import CoordinateFrame, earlier_from_plain, earlier_to_plain
from visloc_ros.core.geo_reference import AXES_SIGMA_DEG, GeoReference
from visloc_ros.core.manifest import FileInfo
from visloc_ros.core.map_folder import MapEntry
from visloc_ros.core.map_versions import MapVersion
from visloc_ros.core.result_mapping import result_from_mapping, result_to_mapping
from visloc_ros.core.types import Anchor, MapIdentity, Rejection
from visloc_server.job import Job
from visloc_server.map_files import MapFiles

Count = Annotated[int, Field(ge=0, lt=1 << 31)]
"""As messages of ROS have room for."""
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


class MapOrigin(BaseModel):
    """Where the origin of a map with axes east, north, up is, in WGS 84."""

    latitude: float = Field(ge=-90.0, le=90.0, description="degrees")
    longitude: float = Field(ge=-180.0, le=180.0, description="degrees")
    altitude: float | None = Field(default=None, allow_inf_nan=False, description="metres")
    axes_sigma_deg: float = Field(
        default=AXES_SIGMA_DEG, ge=0.0, allow_inf_nan=False, description="standard deviation of the map's axes"
    )

    @classmethod
    def of(cls, reference: GeoReference | None) -> MapOrigin | None:
        """The origin of a map, None where that is not known."""
        return None if reference is None else cls(**asdict(reference))

    @property
    def reference(self) -> GeoReference:
        """The same as the type of the core."""
        return GeoReference(**self.model_dump())


class PoseOnEarth(BaseModel):
    """A pose on the earth, in WGS 84; the error of the map's own place is part of its errors."""

    latitude: float = Field(description="degrees")
    longitude: float = Field(description="degrees")
    altitude: float | None = Field(
        description="metres above the ellipsoid or the sea, as the positions that the map was aligned with"
    )
    heading_deg: float | None = Field(description="of the optical axis, clockwise from true north")
    heading_sigma_deg: float | None = Field(description="its standard deviation")
    covariance: list[list[float]] = Field(description="3 x 3, of the position east, north, up, in metres squared")


class LocalizeAnswer(BaseModel):
    """A pose with what it rests on, or the reason why there is none."""

    success: bool
    map: str = Field(description="name of the map that was searched")
    metric: bool = Field(description="whether one unit of the map is one metre")
    gravity_aligned: bool = Field(description="whether its z axis points up")
    map_origin: MapOrigin | None = Field(default=None, description="where the map is on the earth, if that is known")
    frame_uuid: str = Field(default="", description="which frame the pose is in, whatever the map is called")
    earlier_frames: list[dict[str, Any]] = Field(
        default=[], description="frames that the map was in before it was aligned, and how they lie in this one"
    )
    model_id: str = Field(default="", description="of the map's images and points: changes with every update")
    map_from_camera: Pose | None = None
    geo_pose: PoseOnEarth | None = Field(default=None, description="the same pose on the earth")
    convention: str = CONVENTION
    covariance: list[list[float]] | None = Field(default=None, description="6 x 6")
    probability: float | None = Field(default=None, description="of the pose being right")
    map_covariance: list[list[float]] | None = Field(
        default=None, description="the part of it that poses nearby share: errors of the map and of the calibration"
    )
    num_inliers: Count = 0
    num_matches: Count = 0
    reprojection_error_px: float | None = None
    camera: dict[str, Any] | None = Field(default=None, description="the intrinsics that the pose holds for")
    references: list[str] = Field(default=[], description="images of the map that it rests on")
    inlier_pixels: list[list[float]] | None = Field(
        default=None, description="on request: N x 2, the centre of the top-left pixel is (0.5, 0.5)"
    )
    inlier_points: list[list[float]] | None = Field(default=None, description="on request: the points there, N x 3")
    inlier_landmarks: list[Count] | None = Field(
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
        values = result_to_mapping(result, with_inliers, anchor.map.on_earth)
        del values["stamp_ns"]
        return cls(
            map=map_name,
            metric=anchor.map.metric,
            gravity_aligned=anchor.map.gravity_aligned,
            map_origin=MapOrigin.of(anchor.map.on_earth),
            frame_uuid="" if anchor.map.frame is None else anchor.map.frame.uuid,
            earlier_frames=[] if anchor.map.frame is None else earlier_to_plain(anchor.map.frame),
            model_id=anchor.map.model_id,
            advice=advice,
            **values,
        )

    def anchor(self, stamp_ns: int) -> Anchor:
        """The result as one for the image of a stamp. Raises KeyError, TypeError and ValueError."""
        on_earth = None if self.map_origin is None else self.map_origin.reference
        frame = CoordinateFrame(self.frame_uuid, earlier_from_plain(self.earlier_frames)) if self.frame_uuid else None
        identity = MapIdentity(
            self.map, self.metric, self.gravity_aligned, on_earth=on_earth, frame=frame, model_id=self.model_id
        )
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
    map_origin: MapOrigin | None = Field(default=None, description="where it is on the earth, if that is known")
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
            map_origin=MapOrigin.of(manifest.on_earth),
            size_bytes=entry.size,
        )


class Health(BaseModel):
    """Whether the server works."""

    status: str = "ok"
    version: str
    waiting: int = Field(description="searches that are not answered yet")


class JobStatus(BaseModel):
    """The state of a map's build or update."""

    id: str
    kind: str = Field(description="build or update")
    name: str = Field(description="of the map")
    state: str = Field(description="queued, building, done, failed or cancelled")
    stage: str = Field(description="what is done now")
    steps: int = Field(description="of the stage, that are done")
    total: int = Field(description="steps of the stage")
    message: str = Field(description="the result, or why there is none")
    created_s: float = Field(description="time of the request, seconds since 1970")

    @classmethod
    def of(cls, job: Job) -> JobStatus:
        """The answer about a job."""
        return cls(**{name: value for name, value in asdict(job).items() if name in cls.model_fields})


class VersionStatus(BaseModel):
    """A version of a map."""

    version: int
    present: bool = Field(description="whether it is the one that is searched")
    images: int
    points: int
    session: dict[str, Any] | None = Field(description="the recording that it was updated by, and what that changed")

    @classmethod
    def of(cls, version: MapVersion) -> VersionStatus:
        """The answer about a version, without its path."""
        manifest = version.manifest
        counts = {name: manifest.counts.get(name, 0) for name in ("images", "points")}
        session = dict(manifest.sessions[-1]) if manifest.sessions else None
        return cls(version=version.number, present=version.is_present, session=session, **counts)


class FileStatus(BaseModel):
    """Checksum and size of a file of a map."""

    sha256: str
    size: int = Field(ge=0, le=1 << 44, description="bytes")


class FileList(BaseModel):
    """The files of a map's present version, and what a copy of the map must be to become one of this version."""

    version: int = Field(ge=1, le=1 << 31)
    model: str = Field(description="identifies the version")
    known: list[str] = Field(description="the versions that it was made of, or that lie beside it")
    files: dict[str, FileStatus]

    @classmethod
    def of(cls, files: MapFiles) -> FileList:
        """The answer about the files of a map."""
        listed = {name: FileStatus(sha256=info.sha256, size=info.size) for name, info in files.files.items()}
        return cls(version=files.version, model=files.model, known=sorted(files.known), files=listed)

    @property
    def map_files(self) -> MapFiles:
        """The same as the type of the core."""
        files = {name: FileInfo(one.sha256, one.size) for name, one in self.files.items()}
        return MapFiles(self.version, self.model, frozenset(self.known), files)


class Problem(BaseModel):
    """Why a request was refused, and what to do."""

    detail: str


NO_TOKEN: dict[int | str, dict[str, Any]] = {401: {"model": Problem, "description": "no token, or a wrong one"}}
"""Possible answers of every route with a token, for OpenAPI."""
