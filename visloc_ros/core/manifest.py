"""The manifest of a map, ``manifest.json``, written last and read first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.coordinate_frame import (
    CoordinateFrame,
    derived_uuid,
    earlier_from_plain,
    earlier_to_plain,
    new_uuid,
)
from visloc_ros.core.errors import ManifestError, MapError
from visloc_ros.core.files import COPY_AGAIN, check_fetched, is_file, read_text
from visloc_ros.core.geo_reference import AXES_SIGMA_DEG, GeoReference
from visloc_ros.core.plausibility import LARGEST_SIGMA, covariance_fault

FORMAT_VERSION = 1
UNCERTAINTY_VERSION = 3  # of how a map's own error is estimated; an estimate of an earlier one is made again
_OLDEST_UNCERTAINTY = 1  # the first version that can be read: without ``adjustment_covariance`` and ``shared_error``
MANIFEST_NAME, MODEL_FOLDER = "manifest.json", "sfm"
_MAX_MANIFEST_BYTES = 32 << 20
_MOST_VERSIONS_EVER = 10**9
GROWTH = 1.15
"""Of the number of images that a map was built of: beyond, an update replaces those that it can best do without."""
ALIGNED = "align"  # the change of a map that was moved to another frame, and is the same otherwise


@dataclass(frozen=True)
class ModelInfo:
    """A learned model that a map depends on: registry name, licence, checksum of the weights ("" if it has none)."""

    name: str
    licence: str
    sha256: str = ""


@dataclass(frozen=True)
class FileInfo:
    """Checksum and size in bytes of one file of a map."""

    sha256: str
    size: int


@dataclass(frozen=True)
class OwnError:
    """How far a map is off, for people: medians over ``images`` that were localized without themselves.

    ``position`` and ``point`` in map units, the latter of the points that they see, ``depth`` away; ``rotation_deg``.
    """

    images: int
    position: float
    rotation_deg: float
    point: float
    depth: float

    @property
    def is_sound(self) -> bool:
        """Whether these numbers are plausible."""
        values = np.array([self.images, self.position, self.rotation_deg, self.point, self.depth], dtype=np.float64)
        return bool(((values >= 0.0) & (values <= LARGEST_SIGMA)).all())  # NaN is neither


@dataclass(frozen=True)
class UncertaintyInfo:
    """A map's own error (``localization/map_uncertainty.py``), stored so that it is not estimated at every opening.

    ``position_rate`` and ``rotation_rate`` in radians squared per radian of view change. The covariances (6, 6), as in
    ``core.types`` but in camera axes, are of the error of an image's pose, and of its difference to that of the nearest
    image, from which the view changes by ``nearest_change`` radians. ``validated_change`` is the largest view change
    over which images were found again, in radians; 0 where that is not known. ``adjustment_covariance``, too, is (6, 6)
    in camera axes: what the noise of keypoints adds to the error of poses that were estimated from the images. It is
    empty where poses were given. ``shared_error`` is the factor on the variance by errors that keypoints close together
    have in common (``PoseSolution.shared_covariance``) that images which are left out show; 1 where their poses were
    estimated. ``own_error`` is for people, and no part of any covariance; None of an earlier
    version, and of a map of a few images.
    """

    position_rate: float
    rotation_rate: float
    image_covariance: Sequence[Sequence[float]]
    difference_covariance: Sequence[Sequence[float]]
    nearest_change: float
    validated_change: float = 0.0
    adjustment_covariance: Sequence[Sequence[float]] = field(default_factory=list)
    shared_error: float = 1.0
    own_error: OwnError | None = None
    version: int = UNCERTAINTY_VERSION

    @property
    def is_sound(self) -> bool:
        """Whether these numbers are plausible."""
        try:
            is_error_sound = self.own_error is None or self.own_error.is_sound
            changes = [self.nearest_change, self.validated_change]
            factors = [self.position_rate, self.rotation_rate, self.shared_error]
            rates = np.array([*factors, *changes], dtype=np.float64)
            added = [self.adjustment_covariance] if len(self.adjustment_covariance) else []
            covariances = np.array([self.image_covariance, self.difference_covariance, *added], dtype=np.float64)
        except (TypeError, ValueError):
            return False
        are_plausible = bool(((rates >= 0.0) & (rates <= LARGEST_SIGMA**2)).all())  # NaN is neither
        has_faults = any(covariance_fault(one, is_part=True) is not None for one in covariances)
        return are_plausible and not has_faults and self.nearest_change > 0.0 and is_error_sound


@dataclass(frozen=True)
class ReducedInfo:
    """The only way of searching whose files a reduced map still holds, and the other ``files`` of the whole one.

    The map does not hold these ``files``: they identify the version of the map that the prepared files were made from.
    """

    search: str
    files: Mapping[str, FileInfo]


@dataclass(frozen=True)
class Manifest:
    """Provenance and properties of a map.

    ``models`` by role (extractor, matcher, global), ``cameras`` as plain values by camera id (in maps that
    were built here with ``source`` and ``focal_sigma``, how the focal length is known), ``counts`` of
    images, points and observations, ``reprojection_error_px`` the mean over observations, ``config`` the options it
    was built with, ``files`` relative to the map folder, ``uncertainty`` the map's own error, None where it was
    not estimated. ``metric``: one map unit is one metre. ``gravity_aligned``: +z points up. ``scale_source`` and
    ``gravity_source`` say what these two rest on, ``scale_error`` (relative) and ``gravity_error_deg`` how good they
    are, None where that is not known. ``geo_origin`` is empty, or the latitude, longitude (WGS 84, degrees) and, if
    known, altitude (metres) of the origin of a map with axes east, north, up. ``alignment`` is empty, or the
    ``source`` of the frame that the finished map was moved to (``visloc align-map``) and the ``residuals``. ``merged``
    gives for each ``map`` that was merged into it the ``residuals`` of its placement. ``prepared`` says by the name of
    a way of searching how its files, in a folder of that name, were made. ``reduced`` is None for a whole map; in a
    reduced one, which holds only what a way of searching prepared, all other fields describe the whole map.
    ``version`` counts the changes of a map, from 1 on, and ``sessions`` are the recordings that it was updated by,
    after the one that it was built of: each with its ``name``, the ``date`` of the update, and what it changed.
    ``built_images`` is how many images it was built of, extended or merged to: its size, from which updates change it
    little. ``frame_uuid`` is which frame the map is in, ``earlier_frames``
    how those that it was in before lie in it, as plain values (``core/coordinate_frame.py``). ``history`` are the
    versions that this one was made of, one from the other, the last one its parent: each with its ``version``, its
    ``model_id``, and the ``change`` that made the next one of it.
    """

    name: str
    created_from: str
    models: Mapping[str, ModelInfo]
    metric: bool
    gravity_aligned: bool
    scale_source: str = "none"
    gravity_source: str = "none"
    scale_error: float | None = None
    gravity_error_deg: float | None = None
    geo_origin: Mapping[str, float] = field(default_factory=dict)
    alignment: Mapping[str, Any] = field(default_factory=dict)
    merged: Sequence[Mapping[str, Any]] = ()
    cameras: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    reprojection_error_px: float = 0.0
    config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileInfo] = field(default_factory=dict)
    uncertainty: UncertaintyInfo | None = None
    prepared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reduced: ReducedInfo | None = None
    version: int = 1
    built_images: int = 0
    sessions: Sequence[Mapping[str, Any]] = ()
    frame_uuid: str = field(default_factory=new_uuid)
    earlier_frames: Sequence[Mapping[str, Any]] = ()
    history: Sequence[Mapping[str, Any]] = ()
    format_version: int = FORMAT_VERSION

    @cached_property
    def frame(self) -> CoordinateFrame:
        """The frame that images and points are in. Raises ManifestError."""
        try:
            return CoordinateFrame(self.frame_uuid, earlier_from_plain(self.earlier_frames))
        except ValueError as error:
            raise ManifestError(f"the entry 'earlier_frames' is garbled ({error}): copy the map again") from error

    @cached_property
    def model_id(self) -> str:
        """Identifies the images and points, wherever they lie; to prepare or reduce the map changes nothing."""
        own = {name: info for name, info in self.whole_files.items() if _is_of_model(name)}
        files = sorted((name, info.sha256) for name, info in own.items())
        if not files:  # of stock hloc: its frame is derived from them
            return self.frame_uuid
        return hashlib.sha256("\n".join(" ".join(file) for file in files).encode()).hexdigest()

    @property
    def on_earth(self) -> GeoReference | None:
        """Where the map's origin is on the earth, None where that is not known. Raises ManifestError."""
        origin = self.geo_origin
        if not (self.metric and self.gravity_aligned and {"latitude", "longitude"} <= origin.keys()):
            return None
        axes_deg = self.alignment.get("residuals", {}).get("axes_error_deg", AXES_SIGMA_DEG)
        try:
            return GeoReference(origin["latitude"], origin["longitude"], origin.get("altitude"), axes_deg)
        except (MapError, TypeError, AttributeError) as error:
            raise ManifestError(f"the entry 'geo_origin' is garbled ({error}): copy the map again") from error

    @property
    def has_given_poses(self) -> bool:
        """Whether the map was built at reference poses, and not at such that were estimated from its images."""
        options = self.config.get("reconstruction")
        stays = not isinstance(options, Mapping) or options.get("reference", "fixed") == "fixed"
        return stays and self.scale_source == "reference poses"

    @property
    def whole_files(self) -> Mapping[str, FileInfo]:
        """The files of the whole map, also where this one holds only some of them."""
        return self.files if self.reduced is None else {**self.reduced.files, **self.files}


def in_frame(manifest: Manifest, frame: CoordinateFrame) -> Manifest:
    """The manifest of a map in this frame."""
    return replace(manifest, frame_uuid=frame.uuid, earlier_frames=earlier_to_plain(frame))


def made_of(manifest: Manifest, parent: Manifest, change: str) -> Manifest:
    """The manifest of what a ``change`` makes of its parent."""
    step = {"version": parent.version, "model_id": parent.model_id, "change": change}
    return replace(manifest, history=[*parent.history, step])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a map folder."""
    text = json.dumps(asdict(manifest), indent=2, allow_nan=False)
    (folder / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json`` of a map folder. Raises ManifestError."""
    path = folder / MANIFEST_NAME
    text = read_text(path, ManifestError, _MAX_MANIFEST_BYTES, COPY_AGAIN)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"cannot read {path} ({error}): copy the map again or rebuild it") from error
    if not isinstance(values, dict) or "format_version" not in values:
        raise ManifestError(f"{path} is not the manifest of a map: copy the map again or rebuild it")
    if values["format_version"] != FORMAT_VERSION:
        raise ManifestError(
            f"{path} has format version {values['format_version']!r}, this program reads {FORMAT_VERSION}: "
            "rebuild the map, or use the version of visloc_ros that wrote it"
        )
    return _parse_manifest(path, values)


def check_files(folder: Path, manifest: Manifest, checksums: bool, but_not: Container[str] = ()) -> None:
    """Compare the files of a map with its manifest: presence, size and, if asked, SHA-256 of all ``but_not`` these.

    Raises MapError.
    """
    for name, info in manifest.files.items():
        path = folder / name
        if not is_file(path):
            raise MapError(f"{path} is missing: copy the map again or rebuild it")
        size = path.stat().st_size
        if size != info.size:
            check_fetched(path, MapError)
            raise MapError(f"{path} has {size} bytes instead of {info.size}: copy the map again or rebuild it")
        if checksums and name not in but_not and file_info(path).sha256 != info.sha256:
            raise MapError(f"{path} has changed since the map was built: copy the map again or rebuild it")


def file_info(path: Path) -> FileInfo:
    """Checksum and size of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return FileInfo(digest.hexdigest(), path.stat().st_size)


def _parse_manifest(path: Path, values: dict[str, Any]) -> Manifest:
    known = {item.name for item in fields(Manifest)}
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known
    }
    try:
        arguments["models"] = {role: ModelInfo(**info) for role, info in values["models"].items()}
        arguments["files"] = {name: FileInfo(**info) for name, info in values["files"].items()}
        arguments["uncertainty"] = _parse_uncertainty(values.get("uncertainty"))
        arguments["reduced"] = _parse_reduced(values.get("reduced"))
        manifest = Manifest(**arguments)
        if "frame_uuid" not in values:
            manifest = replace(manifest, frame_uuid=_frame_of_older(manifest), history=_history_of_older(manifest))
        if "built_images" not in values:
            manifest = replace(manifest, built_images=_built_images_of_older(manifest))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ManifestError(f"{path} lacks or garbles an entry ({error}): copy the map again or rebuild it") from error
    _check_types(path, manifest)
    return manifest


def _is_step(value: object) -> bool:
    """Whether this is an entry of a history."""
    kinds = {"version": int, "model_id": str, "change": str}
    return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in kinds.items())


def _is_of_model(name: str) -> bool:
    """Whether a file is none that a way of searching has prepared: these lie in a folder of their own."""
    return "/" not in name or name.startswith(f"{MODEL_FOLDER}/")


def _frame_of_older(manifest: Manifest) -> str:
    """The frame of a map that was written without one: an update kept it, an alignment did not."""
    first = manifest.sessions[0].get("before") if manifest.sessions else None
    return derived_uuid(json.dumps([first or manifest.model_id, manifest.alignment], sort_keys=True))


def _history_of_older(manifest: Manifest) -> tuple[dict[str, Any], ...]:
    """The versions that a map was made of which was written without them: sessions say which was the one before."""
    numbers = [1, *(session.get("version", 1) for session in manifest.sessions)]
    before = [(number, session.get("before")) for number, session in zip(numbers, manifest.sessions, strict=False)]
    return tuple({"version": number, "model_id": one, "change": "update"} for number, one in before if one)


def _built_images_of_older(manifest: Manifest) -> int:
    """Of a map that was written without it: of more images than updates add to what it was built of, all."""
    images = manifest.counts.get("images", 0)
    built = manifest.sessions[0].get("built_images", images) if manifest.sessions else images
    return int(built) if images <= GROWTH * built else images


def _parse_uncertainty(values: Mapping[str, Any] | None) -> UncertaintyInfo | None:
    """The estimate of a map's own error; None where it is missing, or of an unknown version of the estimation."""
    if values is None or values["version"] not in range(_OLDEST_UNCERTAINTY, UNCERTAINTY_VERSION + 1):
        return None
    error = values.get("own_error")
    return UncertaintyInfo(**{**values, "own_error": None if error is None else OwnError(**error)})


def _parse_reduced(values: Mapping[str, Any] | None) -> ReducedInfo | None:
    if values is None:
        return None
    return ReducedInfo(values["search"], {name: FileInfo(**info) for name, info in values["files"].items()})


def _check_types(path: Path, manifest: Manifest) -> None:
    expected = {
        "name": str,
        "created_from": str,
        "metric": bool,
        "gravity_aligned": bool,
        "counts": dict,
        "cameras": dict,
        "config": dict,
        "reprojection_error_px": (int, float),
        "scale_error": (int, float, type(None)),
        "gravity_error_deg": (int, float, type(None)),
        "geo_origin": dict,
        "alignment": dict,
        "merged": (list, tuple),
        "prepared": dict,
        "version": int,
        "built_images": int,
        "sessions": (list, tuple),
        "frame_uuid": str,
        "earlier_frames": (list, tuple),
        "history": (list, tuple),
    }
    for name, kind in expected.items():
        if not isinstance(getattr(manifest, name), kind):  # type: ignore[arg-type]
            raise ManifestError(f"{path}: '{name}' has the wrong type: copy the map again or rebuild it")
    if manifest.uncertainty is not None and not manifest.uncertainty.is_sound:
        raise ManifestError(f"{path}: the entry 'uncertainty' is garbled: copy the map again or rebuild it")
    if manifest.reduced is not None and manifest.reduced.search not in list(manifest.prepared):
        raise ManifestError(f"{path}: the entry 'reduced' is garbled: copy the map again or reduce the whole one again")
    try:
        _ = manifest.on_earth, manifest.frame
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    numbers = [manifest.version, *(one["version"] for one in manifest.history if _is_step(one))]
    if not all(map(_is_step, manifest.history)) or not all(0 < number < _MOST_VERSIONS_EVER for number in numbers):
        raise ManifestError(f"{path}: the entry 'history' or 'version' is garbled: copy the map again or rebuild it")
    if not all(isinstance(session, dict) for session in manifest.sessions):
        raise ManifestError(f"{path}: the entry 'sessions' is garbled: copy the map again or rebuild it")
    for role, model in manifest.models.items():
        if not all(isinstance(value, str) for value in (model.name, model.licence, model.sha256)):
            raise ManifestError(f"{path}: the model '{role}' is garbled: copy the map again or rebuild it")
    for name, info in manifest.files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ManifestError(f"{path} names the file '{name}' outside the map: do not trust this map")
        if not isinstance(info.size, int) or not isinstance(info.sha256, str):
            raise ManifestError(f"{path}: the entry of '{name}' is garbled: copy the map again or rebuild it")
