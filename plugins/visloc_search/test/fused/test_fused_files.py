"""Fused maps as files: the same after reading, and refused in words where they are broken or of another map."""

import json
from dataclasses import replace

import numpy as np
import pytest
from fused_maps import prepared

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import FileInfo
from visloc_search.fused.config import FusedConfig
from visloc_search.fused.fused_files import load_fused_map
from visloc_search.fused.preparation import make_fused
from visloc_search.reduced_map.array_files import read_arrays, write_arrays

AGAIN = "visloc prepare MAP --for fused"
NAMES = ("points.npz", "frames.npz", "images.npz", "fused.json")
FRAMES = {"map_from_camera": "<f8", "camera": "<i4", "first_row": "<i8", "point_rows": "<i4", "reduced": "<f2"}
KINDS = {
    "points.npz": {"offset": "<f8", "xyz": "<f4", "descriptor": "<f2"},
    "frames.npz": FRAMES,
    "images.npz": {"centroids": "<f4", "coordinates": "<i4", "sketches": "<f2"},
}


@pytest.fixture(scope="module")
def files(fused_world_map):
    return fused_world_map.prepared["fused"]


def load(fused_world_map, files, **changes):
    return load_fused_map({**files, **changes}, fused_world_map.manifest)


@pytest.mark.parametrize(
    "options", [{}, {"storage": "int8"}, {"convert": False}, {"reduce": "orthogonal"}, {"rho": 0.0}]
)
def test_what_is_read_is_what_was_made(fused_world, tmp_path, options):
    made, _ = make_fused(fused_world.map, FusedConfig.from_mapping(options))
    map_ = prepared(fused_world.map, tmp_path / "map", **options)
    read = load_fused_map(map_.prepared["fused"], map_.manifest)
    np.testing.assert_array_equal(read.codebook.values, made.codebook.values)
    np.testing.assert_array_equal(read.reduced, made.reduced)
    np.testing.assert_array_equal(read.sketches, made.sketches)
    np.testing.assert_allclose(read.map.points, made.map.points, atol=1e-5)
    assert read.fusion.lam == made.fusion.lam
    assert read.fusion.reducer.has_fingerprint(made.fusion.reducer.fingerprint)
    assert read.config == made.config
    for one, other in zip(read.map.images, made.map.images, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.features.descriptors, other.features.descriptors)
        np.testing.assert_allclose(one.features.keypoints, other.features.keypoints, atol=1e-2)


def test_a_learned_index_is_read(fused_world, tmp_path, monkeypatch):
    monkeypatch.setattr("visloc_search.fused.fused_map.chosen_index", lambda *_: "ivf_pq")
    map_ = prepared(fused_world.map, tmp_path / "map")
    files = map_.prepared["fused"]
    assert set(load_fused_map(files, map_.manifest).learned) == {"centroids", "parts", "lists", "codes"}
    with pytest.raises(MapError, match=AGAIN):
        load_fused_map({name: files[name] for name in NAMES}, map_.manifest)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_truncated_file(fused_world_map, files, name):
    with pytest.raises(MapError, match=AGAIN):
        load_fused_map({key: value for key, value in files.items() if key != name}, fused_world_map.manifest)
    for share in (0.0, 0.5, 0.99):
        with pytest.raises(MapError, match=AGAIN):
            load(fused_world_map, files, **{name: files[name][: int(share * len(files[name]))]})


def test_another_version_of_the_map(fused_world_map, files):
    other = replace(fused_world_map.manifest, files={"features.h5": FileInfo("0" * 64, 10)})
    with pytest.raises(MapError, match=f"another version of the map.*{AGAIN}"):
        load_fused_map(files, other)


def test_another_extractor(fused_world_map, files):
    models = {"extractor": replace(fused_world_map.manifest.models["extractor"], sha256="1" * 64)}
    with pytest.raises(MapError, match=f"extractor.*{AGAIN}"):
        load_fused_map(files, replace(fused_world_map.manifest, models=models))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", 1),
        ("counts", {"points": 0, "frames": 8}),
        ("counts", {"points": 400, "frames": 9}),
        ("counts", {"points": "400", "frames": 8}),
        ("lengths", {"image": 256, "keypoint": 10**9, "words": 8}),
        ("lengths", {"image": 255, "keypoint": 32, "words": 8}),
        ("reducer", "magic"),
        ("reducer", "orthogonal"),
        ("index", "magic"),
        ("fingerprint", [0.0] * 32),
        ("fingerprint", [0.0]),
        ("fingerprint", "none"),
        ("extractor", {"name": 1, "licence": "", "sha256": ""}),
        ("image_model", {}),
        ("frames", ["same"] * 8),
        ("config", {"rho": 9.0}),
        ("config", {"unknown": 1}),
    ],
)
def test_a_garbled_description(fused_world_map, files, key, value):
    values = {**json.loads(files["fused.json"]), key: value}
    with pytest.raises(MapError, match=AGAIN):
        load(fused_world_map, files, **{"fused.json": json.dumps(values).encode()})


@pytest.mark.parametrize(
    ("name", "array", "change"),
    [
        ("points.npz", "xyz", lambda values: values + np.float32(1e12)),
        ("points.npz", "descriptor", lambda values: values[:, 1:]),
        ("frames.npz", "point_rows", lambda values: values + 1),
        ("frames.npz", "point_rows", lambda values: np.where(values == 3, 4, values)),
        ("frames.npz", "point_rows", lambda values: -values),
        ("frames.npz", "first_row", lambda values: values[::-1]),
        ("frames.npz", "first_row", lambda values: values * 0),
        ("images.npz", "coordinates", lambda values: values + 10_000),
        ("images.npz", "centroids", lambda values: values.astype(np.float64)),
    ],
)
def test_garbled_numbers(fused_world_map, files, tmp_path, name, array, change):
    kinds = {key: (kind, (None,) * _sides(key)) for key, kind in KINDS[name].items()}
    arrays = read_arrays(name, files[name], kinds, "")
    changed = change(arrays[array])
    write_arrays(
        tmp_path / name, {**arrays, array: changed.astype(arrays[array].dtype) if array != "centroids" else changed}
    )
    with pytest.raises(MapError, match=AGAIN):
        load(fused_world_map, files, **{name: (tmp_path / name).read_bytes()})


def _sides(array):
    return 1 if array in ("offset", "camera", "first_row", "point_rows", "coordinates") else 2
