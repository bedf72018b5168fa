import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from visloc_geo.database import GeoDatabase
from visloc_geo.descriptor_files import load_descriptors
from visloc_geo.features import (
    ImageDescriber,
    describe_globally,
    describe_locally,
    feature_config,
    load_image,
    load_keypoints,
)
from visloc_geo.keypoint_files import read_keypoints, write_keypoints
from visloc_geo.view import View
from visloc_ros.apps.cli import app
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import ConfigError, GeoError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.backends.weights import find_weights
from visloc_ros.features.config import FeatureConfig, GlobalConfig
from visloc_ros.features.registry import make_extractor
from visloc_ros.sources.measurements import GeoPosition

WIDTH, HEIGHT, SHIFT = 320, 240, 24
CAMERA = camera_from_params("PINHOLE", WIDTH, HEIGHT, [300.0, 300.0, WIDTH / 2, HEIGHT / 2])


def facade(seed, shift=0):
    """A picture of a wall with its windows, as seen ``shift`` pixels further right."""
    rng = np.random.default_rng(seed)
    wall = np.full((HEIGHT, WIDTH + SHIFT, 3), 150, np.uint8)
    for _ in range(60):
        (x, y), (w, h) = rng.integers(0, (WIDTH, HEIGHT)), rng.integers(8, 40, 2)
        cv2.rectangle(wall, (int(x), int(y)), (int(x + w), int(y + h)), rng.integers(0, 255, 3).tolist(), -1)
    return np.ascontiguousarray(wall[:, shift : shift + WIDTH])


def add(database, name, image):
    encoded = cv2.imencode(".jpg", image)[1].tobytes()
    database.add(View(name, GeoPosition(55.7, 13.2), camera=CAMERA), encoded)


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    database = GeoDatabase.create(tmp_path_factory.mktemp("geo") / "streets")
    for seed in range(3):
        add(database, f"wall_{seed}", facade(seed))
    database.add(View("not_fetched", GeoPosition(55.7, 13.2)))
    describe_globally(database)
    return database


def test_workers_describe_views_as_this_process_does(streets, tmp_path):
    database = GeoDatabase.create(tmp_path / "copy")
    for name in ("wall_0", "wall_1", "wall_2"):
        database.add(streets.view(name), streets.image_path(name).read_bytes())
    words = ("geo", "global-descriptors", str(database.folder), "--workers", "2", "--json")
    done = CliRunner().invoke(app, words)
    assert json.loads(done.stdout)["described"] == 3
    np.testing.assert_allclose(load_descriptors(database)[1], load_descriptors(streets)[1], atol=1e-5)
    again = CliRunner().invoke(app, words)
    assert json.loads(again.stdout)["described"] == 0


def test_the_view_of_the_same_wall_comes_first(streets):
    names, rows = load_descriptors(streets)
    assert names == ["wall_0", "wall_1", "wall_2"]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0)
    describer = ImageDescriber(streets)
    for seed in range(3):
        features, vector = describer.describe(facade(seed, SHIFT))
        assert len(features) > 30
        assert int(np.argmax(rows @ vector)) == seed


def test_features_are_kept_as_the_extractor_found_them(streets):
    found = make_extractor(FeatureConfig(max_keypoints=1024)).extract(load_image(streets, "wall_1"))
    kept = load_keypoints(streets, "wall_1")
    assert kept.image_size == (WIDTH, HEIGHT)
    assert kept.keypoints == pytest.approx(found.keypoints, abs=1e-3)
    assert np.sum(kept.descriptors.astype(np.float32) * found.descriptors, axis=1) == pytest.approx(1.0, abs=0.01)


def test_only_what_is_missing_is_computed_and_the_words_stay(tmp_path, streets):
    database = GeoDatabase.create(tmp_path / "grown")
    add(database, "wall_0", facade(0))
    assert (describe_locally(database), describe_globally(database)) == (1, 1)
    words = (database.folder / "vlad.npz").read_bytes()
    before = database.descriptor_path("wall_0", "vlad").read_bytes()
    add(database, "wall_1", facade(1))
    assert (describe_globally(database), describe_globally(database)) == (1, 0)
    assert (database.folder / "vlad.npz").read_bytes() == words
    assert database.descriptor_path("wall_0", "vlad").read_bytes() == before
    assert load_descriptors(database)[1] == pytest.approx(load_descriptors(streets)[1][:2], abs=1e-6)


def test_other_features_get_words_of_their_own(tmp_path):
    database = GeoDatabase.create(tmp_path / "sift")
    for seed in range(2):
        add(database, f"wall_{seed}", facade(seed))
    describe_locally(database, FeatureConfig(name="sift", max_keypoints=200))
    describe_globally(database)
    rows = load_descriptors(database)[1]
    assert rows.shape == (2, 64 * 128)
    assert int(np.argmax(rows @ ImageDescriber(database).describe(facade(1, SHIFT))[1])) == 1


def test_features_by_other_settings_are_refused(streets):
    with pytest.raises(GeoError, match="max_keypoints 1024"):
        describe_locally(streets, FeatureConfig(max_keypoints=512))


def test_local_features_by_other_weights_are_neither_mixed_nor_compared(tmp_path):
    own = tmp_path / "own.pth"
    state = torch.load(find_weights("", ("aliked-n16",)), weights_only=True)
    torch.save({name: value * (1.01 if value.is_floating_point() else 1) for name, value in state.items()}, own)
    database = GeoDatabase.create(tmp_path / "streets")
    add(database, "wall_0", facade(0))
    describe_locally(database, FeatureConfig(max_keypoints=64, weights=str(own)))
    describe_globally(database)
    used, _ = ImageDescriber(database).describe(load_image(database, "wall_0"))
    assert used.keypoints == pytest.approx(load_keypoints(database, "wall_0").keypoints, abs=1e-3)
    add(database, "wall_1", facade(1))
    shutil.copy(find_weights("", ("aliked-n16",)), own)
    for describe in (describe_locally, ImageDescriber):
        with pytest.raises(GeoError, match=r"'aliked-n16' .* with other weights"):
            describe(database)


def test_an_image_of_another_size_than_its_metadata_is_refused(tmp_path):
    database = GeoDatabase.create(tmp_path / "wrong")
    add(database, "small", facade(0)[::2, ::2])
    with pytest.raises(GeoError, match="160x120 pixels, its metadata say 320x240"):
        describe_locally(database)


def test_the_layout_of_superpoint_in_databases_of_others_is_read(tmp_path, streets):
    path = tmp_path / "keypoints.npz"
    keypoints = np.array([[0.0, 0.0], [10.0, 20.0], [30.0, 5.0]], np.float32)
    descriptors = np.eye(256, 3, dtype=np.float32)
    np.savez(path, keypoints=keypoints, scores=np.ones(3), descriptors=descriptors)
    features, model = read_keypoints(path, (WIDTH, HEIGHT))
    assert features.keypoints == pytest.approx(keypoints + 0.5)
    assert features.descriptors == pytest.approx(descriptors.T)
    assert model == ""
    with pytest.raises(GeoError, match="lacks the size"):
        read_keypoints(path)


def test_sizes_and_angles_of_keypoints_are_kept(tmp_path):
    path, ones = tmp_path / "keypoints.npz", np.ones((2, 2), np.float32)
    write_keypoints(path, LocalFeatures(ones, ones[0], np.eye(2, 128, dtype=np.float32), (9, 8), 3 * ones), "sift")
    features, model = read_keypoints(path)
    assert (features.scales_angles.tolist(), model) == ([[3.0, 3.0], [3.0, 3.0]], "sift")


@pytest.mark.parametrize(
    "arrays",
    [
        {"keypoints": np.ones((2, 2)), "descriptors": np.ones((128, 3))},
        {"keypoints": np.full((2, 2), np.nan), "descriptors": np.ones((128, 2))},
        {"keypoints": np.ones((2, 2)), "descriptors": np.array([{"a": 1}], dtype=object)},
        {"descriptors": np.ones((128, 2))},
    ],
)
def test_broken_keypoints_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "keypoints.npz", **arrays)
    with pytest.raises(GeoError, match="compute it again"):
        read_keypoints(tmp_path / "keypoints.npz", (9, 9))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_broken_file_is_refused(streets, content, tmp_path):
    database = GeoDatabase.create(tmp_path / "broken")
    database.add(View("one", GeoPosition(55.7, 13.2)), b"")
    database.descriptor_path("one", "netvlad").write_bytes(content)
    database.keypoints_path("one").write_bytes(content)
    with pytest.raises(GeoError, match="netvlad_descriptor"):
        load_descriptors(database, "netvlad")
    with pytest.raises(GeoError, match=r"keypoints\.npz"):
        load_keypoints(database, "one")


def test_descriptors_of_others_are_normalised_and_read_from_either_kind_of_file(tmp_path):
    database = GeoDatabase.create(tmp_path / "others")
    for name in ("a", "b"):
        database.add(View(name, GeoPosition(55.7, 13.2)), b"")
    np.save(database.descriptor_path("a", "radenovic_gldv1"), np.array([[3.0, 4.0]]))
    np.savez(database.descriptor_path("b", "radenovic_gldv1").with_suffix(".npz"), np.array([[0.0, 2.0]]))
    names, rows = load_descriptors(database, "radenovic_gldv1")
    assert names == ["a", "b"]
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]]))


def test_a_missing_descriptor_names_the_command(streets):
    with pytest.raises(GeoError, match="global-descriptors"):
        load_descriptors(streets, "salad")
    with pytest.raises(ConfigError, match="known"):
        describe_globally(streets, GlobalConfig(name="nonsense"))


def test_the_commands_take_the_options_of_geonavpy(tmp_path):
    database = GeoDatabase.create(tmp_path / "streets")
    add(database, "wall_0", facade(0))
    words = ["geo", "local-descriptors", "--database", str(database.folder), "--max_keypoints", "20"]
    words += ["--keypoint_threshold", "0.1", "--nms_radius", "4", "--device", "cpu"]
    CliRunner().invoke(app, words, catch_exceptions=False)
    assert len(load_keypoints(database, "wall_0")) == 20
    words = ["geo", "global-descriptors", str(database.folder), "--json"]
    assert json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)["described"] == 1
    assert json.loads(CliRunner().invoke(app, words, catch_exceptions=False).stdout)["described"] == 0
    assert load_descriptors(database)[0] == ["wall_0"]
    assert isinstance(CliRunner().invoke(app, ["geo", "local-descriptors"]).exception, ConfigError)


def test_descriptors_by_other_weights_are_refused(tmp_path):
    database = GeoDatabase.create(tmp_path / "streets")
    add(database, "wall_0", facade(0))
    describe_globally(database)
    np.savez(database.folder / "vlad.npz", centroids=np.eye(64, 128))
    with pytest.raises(GeoError, match="other weights"):
        ImageDescriber(database)
    add(database, "wall_1", facade(1))
    with pytest.raises(GeoError, match="other weights"):
        describe_globally(database)


def test_features_of_superpoint_by_others_are_not_mixed_with_ours(tmp_path):
    database = GeoDatabase.create(tmp_path / "others")
    for seed in range(2):
        add(database, f"wall_{seed}", facade(seed))
    arrays = {"keypoints": np.ones((3, 2)), "scores": np.ones(3), "descriptors": np.eye(256, 3)}
    np.savez(database.keypoints_path("wall_0"), **arrays)
    assert feature_config(database).name == "superpoint"
    with pytest.raises(GeoError, match="made with name superpoint"):
        describe_locally(database, FeatureConfig())
    np.savez(database.keypoints_path("wall_0"), **arrays | {"descriptors": np.eye(128, 3)})
    with pytest.raises(GeoError, match="which model"):
        feature_config(database)
