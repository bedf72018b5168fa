"""Landmark maps as files: ``landmarks.npz`` (points), ``frames.npz`` and ``landmarks.json`` in a folder.

Nothing is compressed: a map takes as many bytes as its numbers do. The files belong to one version of one map, whose
manifest still names its models and its own error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import MapImage
from visloc_search.landmarks.config import LANDMARKS, MOST_LANDMARKS, LandmarkConfig
from visloc_search.landmarks.landmark_map import LandmarkMap, PointTable
from visloc_search.landmarks.tokens import BACKGROUND
from visloc_search.reduced_map.array_files import Shape, read_arrays, write_arrays
from visloc_search.reduced_map.frame_files import (
    camera_rows,
    check_names,
    check_rows,
    coordinate_arrays,
    coordinates,
    expected_arrays,
    expected_coordinates,
    frame_arrays,
    make_camera,
    make_frames,
)
from visloc_search.reduced_map.provenance import (
    check_extractor,
    check_version,
    extractor_of,
    origin_of,
    read_description,
)

POINTS_NAME, FRAMES_NAME, DESCRIPTION_NAME = "landmarks.npz", "frames.npz", "landmarks.json"
SCHEMA_VERSION = 1

_AGAIN = ": run 'visloc prepare MAP --for landmarks' again"


@dataclass(frozen=True)
class _Description:
    """The content of ``landmarks.json``."""

    config: LandmarkConfig
    extractor: Mapping[str, Any]
    made_from: Mapping[str, str]
    counts: Mapping[str, int]
    cameras: Sequence[pycolmap.Camera]
    names: Sequence[str]


def save_landmark_map(folder: Path, landmark_map: LandmarkMap) -> None:
    """Write the files of a landmark map into an existing folder. Raises OSError, and MapError without an extractor."""
    points, images = landmark_map.points, landmark_map.map.images
    description = _describe(landmark_map)
    of_points: dict[str, NDArray[Any]] = {
        **coordinate_arrays(points.xyz),
        "label": points.labels.astype(np.int16),
        "descriptor": points.descriptors.astype(np.float16),
        "error": points.errors.astype(np.float32),
    }
    of_frames: dict[str, NDArray[Any]] = {
        **frame_arrays(images),
        "landmark_frame": landmark_map.frame_rows.astype(np.int32),
    }
    write_arrays(folder / POINTS_NAME, of_points)
    write_arrays(folder / FRAMES_NAME, of_frames)
    (folder / DESCRIPTION_NAME).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def load_landmark_map(files: Mapping[str, bytes], manifest: Manifest) -> LandmarkMap:
    """Read the landmark map of the map with this manifest out of the contents of files by name, everything checked.

    Raises MapError where a file is missing or broken, or was made from another version of the map or with
    another extractor. (A map of stock hloc states no checksums: its version is not compared.)
    """
    for name in (DESCRIPTION_NAME, POINTS_NAME, FRAMES_NAME):
        if name not in files:
            raise MapError(f"{name} of the landmarks of the map '{manifest.name}' is missing{_AGAIN}")
    content = files[DESCRIPTION_NAME]
    description = read_description(DESCRIPTION_NAME, content, LANDMARKS, SCHEMA_VERSION, _parse, _AGAIN)
    check_version(LANDMARKS, description.made_from, manifest, _AGAIN)
    check_extractor(LANDMARKS, description.extractor, manifest, _AGAIN)
    points = _read_points(files[POINTS_NAME], description)
    frames, frame_rows = _read_frames(files[FRAMES_NAME], description, points)
    return LandmarkMap.of(manifest, frames, points, frame_rows, description.config)


def _describe(landmark_map: LandmarkMap) -> dict[str, Any]:
    map_, points = landmark_map.map, landmark_map.points
    extractor = extractor_of(map_.manifest)
    dimension = points.descriptors.shape[1]
    return {
        "schema_version": SCHEMA_VERSION,
        "config": landmark_map.config.to_mapping(),
        "extractor": {"name": extractor.name, "sha256": extractor.sha256, "descriptor_dim": dimension},
        "made_from": origin_of(map_.manifest),
        "counts": {"points": len(map_.points), "landmarks": landmark_map.num_landmarks, "frames": len(map_.images)},
        "cameras": camera_rows(map_.images)[0],
        "frames": [image.name for image in map_.images],
    }


def _parse(values: Mapping[str, Any]) -> _Description:
    extractor, counts = values["extractor"], values["counts"]
    if not all(type(counts[key]) is int and counts[key] > 0 for key in ("points", "landmarks", "frames")):
        raise ValueError("'counts' must be positive numbers")
    names = check_names(values["frames"], counts["frames"])
    if counts["landmarks"] > MOST_LANDMARKS or type(extractor["descriptor_dim"]) is not int:
        raise ValueError("there are too many landmarks, or no length of descriptors")
    return _Description(
        LandmarkConfig.from_mapping(values["config"]),
        {key: extractor[key] for key in ("name", "sha256", "descriptor_dim")},
        dict(values["made_from"]),
        counts,
        [make_camera(camera) for camera in values["cameras"]],
        names,
    )


def _read_points(content: bytes, description: _Description) -> PointTable:
    count = description.counts["points"]
    expected: dict[str, tuple[str, Shape]] = {
        **expected_coordinates(count),
        "label": ("<i2", (count,)),
        "descriptor": ("<f2", (count, description.extractor["descriptor_dim"])),
        "error": ("<f4", (count,)),
    }
    arrays = read_arrays(POINTS_NAME, content, expected, _AGAIN)
    labels = arrays["label"].astype(np.int32)
    if not np.array_equal(np.unique(labels), np.arange(BACKGROUND + 1, description.counts["landmarks"] + 1)):
        raise MapError(
            f"{POINTS_NAME}: not every landmark from 1 to {description.counts['landmarks']} has points{_AGAIN}"
        )
    if np.any(arrays["error"] < 0.0):
        raise MapError(f"{POINTS_NAME} holds errors below 0{_AGAIN}")
    return PointTable(coordinates(POINTS_NAME, arrays, _AGAIN), arrays["descriptor"], labels, arrays["error"])


def _read_frames(
    content: bytes, description: _Description, points: PointTable
) -> tuple[list[MapImage], NDArray[np.int32]]:
    """The frames, and the row of that of each landmark."""
    expected = {
        **expected_arrays(description.counts["frames"]),
        "landmark_frame": ("<i4", (description.counts["landmarks"],)),
    }
    arrays = read_arrays(FRAMES_NAME, content, expected, _AGAIN)
    check_rows(FRAMES_NAME, arrays, {"landmark_frame": description.counts["frames"]}, _AGAIN)
    frames = make_frames(FRAMES_NAME, arrays, description.names, description.cameras, points, _AGAIN)
    return frames, arrays["landmark_frame"]
