"""Fused maps as files: ``points.npz`` (codebook), ``frames.npz``, ``images.npz`` (how images are described) and
``fused.json`` in a folder, and ``index.npz`` where an index has been learned.

Nothing is compressed: a map takes as many bytes as its numbers do. The files belong to one version of one map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import Manifest, ModelInfo
from visloc_ros.localization.inverted_lists import learned_arrays
from visloc_search.fused.config import (
    FUSED,
    INDEXES,
    INT8,
    IVF_PQ,
    REDUCERS,
    FusedConfig,
)
from visloc_search.fused.fused_map import FusedMap, ImageModel, searched_map
from visloc_search.fused.fusion import (
    PADDED,
    Codebook,
    Float32,
    Fusion,
    Reducer,
    local_descriptors,
)
from visloc_search.fused.image_parts import sketch_length
from visloc_search.reduced_map.array_files import Shape, read_arrays, write_arrays
from visloc_search.reduced_map.frame_files import (
    camera_rows,
    check_names,
    check_shares,
    coordinate_arrays,
    coordinates,
    expected_arrays,
    expected_coordinates,
    frame_arrays,
    make_camera,
    make_frames,
)
from visloc_search.reduced_map.frames import Points
from visloc_search.reduced_map.provenance import (
    check_extractor,
    check_version,
    origin_of,
    read_description,
)

POINTS_NAME, FRAMES_NAME, IMAGES_NAME = "points.npz", "frames.npz", "images.npz"
DESCRIPTION_NAME, INDEX_NAME = "fused.json", "index.npz"
SCHEMA_VERSION = 2
WHAT = "fused descriptors"
AGAIN = f": run 'visloc prepare MAP --for {FUSED}' again"

_LONGEST = 1 << 16  # numbers of a descriptor: the longest in use have 33 thousand


@dataclass(frozen=True)
class _Description:
    """The content of ``fused.json``. ``lengths`` are those of descriptors of images, keypoints, and VLAD's words."""

    config: FusedConfig
    extractor: ModelInfo
    has_new_features: bool
    image_model: ModelInfo
    reducer: str
    fingerprint: list[float]
    index: str
    lengths: Mapping[str, int]
    counts: Mapping[str, int]
    made_from: Mapping[str, str]
    cameras: Sequence[pycolmap.Camera]
    names: Sequence[str]


def save_fused_map(folder: Path, fused: FusedMap, manifest: Manifest) -> None:
    """Write the files of a fused map, made of the map with this manifest, into a folder. Raises OSError."""
    of_points = {**coordinate_arrays(fused.map.points), "descriptor": fused.codebook.values}
    if fused.codebook.scales is not None:
        of_points["scale"] = fused.codebook.scales
    of_frames = {**frame_arrays(fused.map.images), "first_row": fused.first_row, "point_rows": fused.point_rows}
    write_arrays(folder / POINTS_NAME, of_points)
    write_arrays(folder / FRAMES_NAME, {**of_frames, "reduced": fused.reduced.astype(np.float16)})
    of_images: dict[str, NDArray[Any]] = {
        "centroids": fused.image_model.vlad_centroids,
        "sketches": fused.sketches,
    }
    write_arrays(folder / IMAGES_NAME, {**of_images, **fused.fusion.reducer.arrays})
    if fused.learned:
        write_arrays(folder / INDEX_NAME, fused.learned)
    (folder / DESCRIPTION_NAME).write_text(json.dumps(_describe(fused, manifest), indent=1) + "\n", encoding="utf-8")


def load_fused_map(files: Mapping[str, bytes], manifest: Manifest) -> FusedMap:
    """Read the fused map of the map with this manifest out of the contents of files by name, everything checked.

    Raises MapError where a file is missing or broken, or was made from another version of the map or with
    another extractor.
    """
    content = _content(files, DESCRIPTION_NAME, manifest)
    description = read_description(DESCRIPTION_NAME, content, WHAT, SCHEMA_VERSION, _parse, AGAIN)
    check_version(WHAT, description.made_from, manifest, AGAIN)
    if not description.has_new_features:
        check_extractor(WHAT, asdict(description.extractor), manifest, AGAIN)
    xyz, codebook = _read_points(_content(files, POINTS_NAME, manifest), description)
    of_frames = _read_frames(_content(files, FRAMES_NAME, manifest), description)
    fusion, image_model, sketches = _read_images(_content(files, IMAGES_NAME, manifest), description)
    reduced = of_frames["reduced"].astype(np.float32)
    _check_point_rows(of_frames, len(xyz))
    rows = of_frames["first_row"], of_frames["point_rows"]
    points = Points(xyz, local_descriptors(codebook, fusion, reduced, *rows))
    frames = make_frames(FRAMES_NAME, of_frames, description.names, description.cameras, points, AGAIN)
    return FusedMap(
        searched_map(manifest, frames, points, description.extractor),
        codebook,
        fusion,
        reduced,
        *rows,
        image_model,
        sketches,
        description.extractor,
        description.index,
        _read_index(files, description, manifest),
        description.config,
    )


def _content(files: Mapping[str, bytes], name: str, manifest: Manifest) -> bytes:
    if name not in files:
        raise MapError(f"{name} of the {WHAT} of the map '{manifest.name}' is missing{AGAIN}")
    return files[name]


def _describe(fused: FusedMap, manifest: Manifest) -> dict[str, Any]:
    reducer, stated = fused.fusion.reducer, manifest.models.get("extractor")
    return {
        "schema_version": SCHEMA_VERSION,
        "config": fused.config.to_mapping(),
        "extractor": asdict(fused.extractor),
        "has_new_features": stated is None or stated != fused.extractor,
        "image_model": asdict(fused.image_model.info),
        "reducer": reducer.kind,
        "fingerprint": reducer.fingerprint,
        "index": fused.index,
        "lengths": {
            "image": fused.image_model.length,
            "keypoint": fused.codebook.length,
            "words": len(fused.image_model.vlad_centroids),
        },
        "counts": {"points": len(fused.codebook), "frames": len(fused.map.images)},
        "made_from": origin_of(manifest),
        "cameras": camera_rows(fused.map.images)[0],
        "frames": [image.name for image in fused.map.images],
    }


def _parse(values: Mapping[str, Any]) -> _Description:
    counts, lengths = values["counts"], values["lengths"]
    if not all(type(counts[key]) is int and counts[key] > 0 for key in ("points", "frames")):
        raise ValueError("'counts' must be positive numbers")
    limits = (("image", 1), ("keypoint", 1), ("words", 0))
    if not all(type(lengths[key]) is int and least <= lengths[key] <= _LONGEST for key, least in limits):
        raise ValueError(f"'lengths' must be numbers up to {_LONGEST}")
    if values["reducer"] not in (*REDUCERS, PADDED) or values["index"] not in INDEXES:
        raise ValueError("there is no such reduction, or no such index")
    return _Description(
        FusedConfig.from_mapping(values["config"]),
        _model(values["extractor"]),
        bool(values["has_new_features"]),
        _model(values["image_model"]),
        values["reducer"],
        [float(value) for value in values["fingerprint"]],
        values["index"],
        lengths,
        counts,
        dict(values["made_from"]),
        [make_camera(camera) for camera in values["cameras"]],
        check_names(values["frames"], counts["frames"]),
    )


def _model(values: Mapping[str, Any]) -> ModelInfo:
    model = ModelInfo(values["name"], values["licence"], values["sha256"])
    if not all(isinstance(value, str) for value in asdict(model).values()):
        raise ValueError("a model must have a name, a licence and a checksum")
    return model


def _read_points(content: bytes, description: _Description) -> tuple[NDArray[np.float64], Codebook]:
    count, is_int8 = description.counts["points"], description.config.storage == INT8
    expected: dict[str, tuple[str, Shape]] = {
        **expected_coordinates(count),
        "descriptor": ("|i1" if is_int8 else "<f2", (count, description.lengths["keypoint"])),
        **({"scale": ("<f4", (count,))} if is_int8 else {}),
    }
    arrays = read_arrays(POINTS_NAME, content, expected, AGAIN)
    return coordinates(POINTS_NAME, arrays, AGAIN), Codebook(arrays["descriptor"], arrays.get("scale"))


def _read_frames(content: bytes, description: _Description) -> dict[str, NDArray[Any]]:
    count = description.counts["frames"]
    expected = {**expected_arrays(count), "reduced": ("<f2", (count, description.lengths["keypoint"]))}
    return read_arrays(FRAMES_NAME, content, expected, AGAIN)


def _check_point_rows(arrays: Mapping[str, NDArray[Any]], num_points: int) -> None:
    """Refuse points that no frame shows, and rows that are none: all are averaged before frames are made."""
    check_shares(FRAMES_NAME, arrays, AGAIN)
    if not np.array_equal(np.unique(arrays["point_rows"]), np.arange(num_points)):
        raise MapError(f"{FRAMES_NAME}: the frames do not show the {num_points} points that there are{AGAIN}")


def _read_images(content: bytes, description: _Description) -> tuple[Fusion, ImageModel, NDArray[np.float16]]:
    """The fusion of descriptors, the describer of whole images, and sketches of the map's own."""
    lengths, converts = description.lengths, description.config.convert
    of_image, of_keypoint, words = lengths["image"], lengths["keypoint"], lengths["words"]
    reduces = of_image, of_keypoint
    stored = Reducer.stored_arrays(description.reducer, reduces)
    expected: dict[str, tuple[str, Shape]] = {
        "centroids": ("<f4", (words, of_image // words) if words else (0, 0)),
        "sketches": ("<f2", (description.counts["frames"], sketch_length(of_image)) if converts else (0, 0)),
        **stored,
    }
    arrays = read_arrays(IMAGES_NAME, content, expected, AGAIN)
    kept = {name: arrays[name] for name in stored}
    try:
        reducer = Reducer.load(description.reducer, description.config.seed, reduces, kept)
    except MapError as error:
        raise MapError(f"{IMAGES_NAME}: {error}{AGAIN}") from error
    if not reducer.has_fingerprint(description.fingerprint):
        raise MapError(f"{IMAGES_NAME}: descriptors of images are not reduced here as where the map was made{AGAIN}")
    centroids: Float32 = np.ascontiguousarray(arrays["centroids"], np.float32)
    model = ImageModel(description.image_model, of_image, centroids)
    return Fusion(description.config.local_weight, reducer), model, arrays["sketches"]


def _read_index(files: Mapping[str, bytes], description: _Description, manifest: Manifest) -> dict[str, NDArray[Any]]:
    if description.index != IVF_PQ:
        return {}
    expected = learned_arrays(description.counts["points"], description.lengths["keypoint"])
    return read_arrays(INDEX_NAME, _content(files, INDEX_NAME, manifest), expected, AGAIN)
