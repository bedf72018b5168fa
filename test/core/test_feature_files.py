"""Feature files: what hloc reads, half the size it would write, and nothing lost that tells descriptors apart."""

from dataclasses import replace

import h5py
import numpy as np
import pycolmap
import pytest
from small_map import MANIFEST

from visloc_ros.core.camera import guess_camera
from visloc_ros.core.feature_files import (
    LocalFeatures,
    read_global_descriptors,
    read_local_features,
    round_to_spread,
    write_global_descriptors,
    write_local_features,
)
from visloc_ros.core.feature_pages import checksum_of
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import open_map, save_map
from visloc_ros.core.map_layout import global_file_name


def unit_rows(count, length, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, length)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def features_of(descriptors, seed=0):
    keypoints = np.random.default_rng(seed).uniform(0.0, 480.0, size=(len(descriptors), 2)).astype(np.float32)
    return LocalFeatures(keypoints, np.linspace(1.0, 0.1, len(descriptors), dtype=np.float32), descriptors, (640, 480))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 512.0])
def test_rounding_is_fine_against_the_spread_whatever_the_unit(scale):
    exact = np.random.default_rng(3).normal(size=(50, 64)).astype(np.float32) * scale
    rounded = round_to_spread(exact)
    assert 0.0 < np.abs(rounded - exact).max() <= exact.std() / 32 * 1.01
    assert np.array_equal(round_to_spread(rounded), rounded)


def test_a_descriptor_of_nothing_stays_zero():
    assert np.array_equal(round_to_spread(np.zeros(8, np.float32)), np.zeros(8))
    assert round_to_spread(np.empty((0, 8), np.float32)).shape == (0, 8)


def test_nearest_neighbours_survive_the_file(tmp_path):
    stored, seen = unit_rows(300, 128), unit_rows(300, 128, seed=1)
    write_local_features(tmp_path / "feats.h5", {"a.jpg": features_of(stored)})
    (read,) = read_local_features(tmp_path / "feats.h5", ["a.jpg"], [300])
    before, after = seen @ stored.T, seen @ read.descriptors.astype(np.float32).T
    assert np.abs(before - after).max() < 0.01
    assert np.mean(before.argmax(axis=1) == after.argmax(axis=1)) > 0.97


def test_files_take_little_more_than_half_of_half_precision(tmp_path):
    path = tmp_path / "feats.h5"
    write_local_features(path, {f"room/{index}.jpg": features_of(unit_rows(400, 128, index)) for index in range(5)})
    assert path.stat().st_size < 5 * 400 * (0.6 * 2 * 128 + 10) + 5 * 1000


def test_hloc_finds_its_own_layout(tmp_path):
    path, descriptors = tmp_path / "feats.h5", unit_rows(20, 128)
    features = features_of(descriptors)
    write_local_features(path, {"room/a.jpg": features})
    with h5py.File(path, "r") as file:
        group = file["room/a.jpg"]
        assert set(group) == {"keypoints", "scores", "descriptors", "image_size"}
        assert group["descriptors"].shape == (128, 20)
        assert group["descriptors"].dtype == np.float16
        assert np.allclose(group["keypoints"][:], features.keypoints - 0.5)


def test_of_which_turn_the_descriptors_are_comes_back(tmp_path):
    one = features_of(unit_rows(20, 8))
    turned = replace(one.turned(-3), quarters=3)
    write_local_features(tmp_path / "features.h5", {"upright": one, "turned": turned})
    upright, back = read_local_features(tmp_path / "features.h5", ["upright", "turned"], [20, 20])
    assert (upright.quarters, upright.upright, back.quarters, back.upright.quarters) == (0, upright, 3, 0)
    np.testing.assert_allclose(back.upright.keypoints, one.keypoints, atol=1e-4)
    assert back.upright.image_size == one.image_size
    assert checksum_of(back) != checksum_of(replace(back, quarters=1))


def test_an_image_without_features_is_written_and_read(tmp_path):
    write_local_features(tmp_path / "feats.h5", {"a.jpg": features_of(np.empty((0, 16), np.float32))})
    (read,) = read_local_features(tmp_path / "feats.h5", ["a.jpg"], [0])
    assert len(read) == 0


def test_global_descriptors_are_as_alike_as_before(tmp_path):
    vectors, query = unit_rows(40, 2048), unit_rows(1, 2048, seed=9)[0]
    write_global_descriptors(tmp_path / "global.h5", {f"{index}": vector for index, vector in enumerate(vectors)})
    read = read_global_descriptors(tmp_path / "global.h5", [f"{index}" for index in range(40)])
    assert np.abs(read @ query - vectors @ query).max() < 2e-3
    assert np.abs(np.sum(read * vectors, axis=1) - 1.0).max() < 2e-3
    assert (tmp_path / "global.h5").stat().st_size < 40 * (0.6 * 2 * 2048 + 400)


def test_the_features_of_all_images_are_parts_of_one_array(tmp_path):
    written = {f"{count}.jpg": features_of(unit_rows(count, 16, count), count) for count in (30, 0, 50)}
    write_local_features(tmp_path / "feats.h5", written)
    read = read_local_features(tmp_path / "feats.h5", list(written), [30, 0, 50])
    assert all(one.descriptors.base is read[0].descriptors.base for one in read)
    assert read[0].descriptors.base.shape == (80, 16)
    assert read[0].descriptors.base.dtype == np.float16
    for one, original in zip(read, written.values(), strict=True):
        assert np.allclose(one.keypoints, original.keypoints, atol=1e-4)
        assert np.allclose(one.scores, original.scores, atol=1e-3)
        assert np.array_equal(one.descriptors, round_to_spread(original.descriptors))


def described_by(name):
    return replace(MANIFEST, models={**MANIFEST.models, "global": ModelInfo(name, "MIT")})


def test_descriptors_of_a_network_are_stored_under_its_name_and_come_back(parts, tmp_path):
    reconstruction, features, descriptors, _ = parts
    nothing = np.empty((0, 0), np.float32)
    manifest = save_map(tmp_path / "room", reconstruction, features, descriptors, nothing, described_by("megaloc"))
    opened = open_map(tmp_path / "room")
    assert "global-feats-megaloc.h5" in manifest.files
    assert sorted(path.name for path in (tmp_path / "room").glob("*.h5")) == ["features.h5", "global-feats-megaloc.h5"]
    assert opened.manifest.models["global"].name == "megaloc"
    assert opened.vlad_centroids.size == 0
    stored = np.stack([descriptors[image.name] for image in opened.images])
    np.testing.assert_allclose(opened.global_descriptors, stored, atol=0.04)  # rounded as local descriptors are


def test_vlad_comes_with_its_codebook(parts, tmp_path):
    save_map(tmp_path / "room", *parts, described_by("vlad"))
    assert open_map(tmp_path / "room").vlad_centroids.shape == parts[3].shape


@pytest.mark.parametrize(
    ("descriptor", "file"),
    [
        ("vlad", "global-feats-vlad.h5"),
        ("hloc:netvlad", "global-feats-netvlad.h5"),
        ("../../elsewhere/x", "global-feats-..-..-elsewhere-x.h5"),
    ],
)
def test_a_name_makes_a_file_name_as_hloc_s(descriptor, file):
    assert global_file_name(descriptor) == file


def test_features_without_a_ray_are_left_out():
    camera = pycolmap.Camera(model="OPENCV_FISHEYE", width=640, height=480, params=[150, 150, 320, 240, 0, 0, 0, 0])
    features = features_of(unit_rows(3, 16))
    degrees = np.array([89.0, 91.0, 45.0])
    keypoints = np.column_stack([320 + 150 * np.deg2rad(degrees), np.full(3, 240.0)]).astype(np.float32)
    seen = replace(features, keypoints=keypoints).with_rays(camera)
    np.testing.assert_array_equal(seen.keypoints, keypoints[[0, 2]])
    np.testing.assert_array_equal(seen.descriptors, features.descriptors[[0, 2]])
    assert features_of(unit_rows(3, 16)).with_rays(guess_camera(640, 480)).keypoints.shape == (3, 2)
