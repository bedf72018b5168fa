"""Landmark maps as files: what is written is read, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from landmark_places import hall, manifest
from landmark_worlds import make_landmark_map

from visloc_ros.core.camera import is_same_camera
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import FileInfo, ModelInfo
from visloc_search.landmarks.config import LandmarkConfig
from visloc_search.landmarks.landmark_files import load_landmark_map, save_landmark_map
from visloc_search.reduced_map.array_files import write_arrays

NAMES = ("landmarks.npz", "frames.npz", "landmarks.json")
AGAIN = "run 'visloc prepare MAP --for landmarks' again"


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path, landmark_map):
    save_landmark_map(tmp_path, landmark_map)
    return tmp_path


@pytest.fixture(scope="module")
def few():
    """A small map, for what is broken in many ways."""
    return make_landmark_map(hall(count=300, images=20), LandmarkConfig(num_landmarks=2))


@pytest.fixture
def small_folder(tmp_path, few):
    save_landmark_map(tmp_path, few)
    return tmp_path


def test_what_is_written_is_read(folder, landmark_map):
    read = load_landmark_map(files_in(folder), landmark_map.map.manifest)
    assert read.config == landmark_map.config
    assert np.array_equal(read.labels, landmark_map.labels)
    assert np.array_equal(read.frame_rows, landmark_map.frame_rows)
    assert np.array_equal(read.points.descriptors, landmark_map.points.descriptors)
    assert np.array_equal(read.points.errors, landmark_map.points.errors)
    assert np.abs(read.map.points - landmark_map.map.points).max() < 1e-6
    assert read.map.identity == landmark_map.map.identity
    for one, other in zip(read.map.images, landmark_map.map.images, strict=True):
        assert one.name == other.name
        assert one.map_from_camera.is_close(other.map_from_camera)
        assert is_same_camera(one.camera, other.camera)
        assert np.array_equal(one.point_rows, other.point_rows)
        assert np.abs(one.features.keypoints - other.features.keypoints).max() < 1e-2
        assert np.array_equal(one.features.scores, other.features.scores)


def test_options_are_kept(tmp_path, hall_map):
    config = LandmarkConfig(num_landmarks=3, thinning_radius=0.1)
    save_landmark_map(tmp_path, make_landmark_map(hall_map, config))
    assert load_landmark_map(files_in(tmp_path), hall_map.manifest).config == config


def test_nothing_is_lost_far_from_the_origin(tmp_path, hall_map):
    """Coordinates of a map grid: single precision alone would be off by a quarter of a metre."""
    away = np.array([4.1e6, -3.2e6, 500.0])
    images = tuple(
        replace(image, map_from_camera=SE3(image.map_from_camera.rotation, image.map_from_camera.translation + away))
        for image in hall_map.images
    )
    far = make_landmark_map(replace(hall_map, points=hall_map.points + away, images=images))
    save_landmark_map(tmp_path, far)
    read = load_landmark_map(files_in(tmp_path), hall_map.manifest)
    assert np.abs(read.map.points - far.map.points).max() < 1e-5


def test_points_take_as_many_bytes_as_their_numbers(folder, landmark_map):
    numbers = 18 * len(landmark_map.labels) + landmark_map.points.descriptors.size * 2
    assert numbers < (folder / "landmarks.npz").stat().st_size < numbers + 3000  # names and headers


def test_the_same_map_gives_the_same_files(folder, tmp_path_factory, full_map):
    again = tmp_path_factory.mktemp("again")
    save_landmark_map(again, make_landmark_map(full_map))
    for name in NAMES:
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_the_description_can_be_read_by_people(folder, landmark_map):
    values = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
    assert values["counts"]["landmarks"] == landmark_map.num_landmarks
    assert values["extractor"] == {"name": "synthetic", "sha256": "a" * 64, "descriptor_dim": 16}
    assert values["made_from"] == {"features.h5": "1" * 64, "sfm/points3D.bin": "0" * 64}


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named(small_folder, name):
    (small_folder / name).unlink()
    assert_refused(small_folder, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_a_truncated_file_is_named(small_folder, name, share):
    content = (small_folder / name).read_bytes()
    (small_folder / name).write_bytes(content[: int(share * len(content))])
    assert_refused(small_folder, name)


def test_landmarks_of_another_version_of_the_map_are_refused(small_folder):
    files = {**manifest().files, "sfm/points3D.bin": FileInfo("9" * 64, 10)}
    assert_refused(small_folder, "another version of the map 'hall'", replace(manifest(), files=files))


def test_another_index_of_images_does_not_matter(small_folder):
    files = {**manifest().files, "global-feats-vlad.h5": FileInfo("9" * 64, 10)}
    load_landmark_map(files_in(small_folder), replace(manifest(), files=files))


@pytest.mark.parametrize("extractor", [ModelInfo("other", "MIT", "a" * 64), ModelInfo("synthetic", "", "b" * 64), None])
def test_landmarks_of_another_extractor_are_refused(small_folder, extractor):
    models = {"extractor": extractor} if extractor else {}
    assert_refused(small_folder, "extractor 'synthetic'", replace(manifest(), models=models))


def test_a_map_that_names_no_extractor_is_not_written(tmp_path, few):
    nameless = replace(few, map=replace(few.map, manifest=replace(manifest(), models={})))
    with pytest.raises(MapError, match="which extractor"):
        save_landmark_map(tmp_path, nameless)


def set_path(values, path, value):
    *groups, leaf = path.split(".")
    for group in groups:
        values = values[int(group) if isinstance(values, list) else group]
    values[int(leaf) if isinstance(values, list) else leaf] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema_version", 2),
        ("schema_version", None),
        ("config", []),
        ("config.num_landmarks", "other"),
        ("config.unknown", 1),
        ("config.thinning_radius", float("nan")),
        ("extractor", None),
        ("extractor.descriptor_dim", "16"),
        ("extractor.descriptor_dim", 17),
        ("made_from", "x"),
        ("counts.points", 0),
        ("counts.points", 10**12),
        ("counts.landmarks", 10**12),
        ("counts.landmarks", 3),
        ("counts.frames", 1),
        ("cameras", []),
        ("cameras.0.model", "OTHER"),
        ("cameras.0.params", [1.0]),
        ("cameras.0.params", [float("nan"), 1, 1, 1]),
        ("cameras.0.width", 0),
        ("cameras.0.width", 1e9),
        ("frames", None),
        ("frames.0", 5),
        ("frames.0", "0003.jpg"),
        ("frames.0", "x" * 10000),
    ],
)
def test_a_garbled_description_is_refused(small_folder, path, value):
    file = small_folder / "landmarks.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    set_path(values, path, value)
    file.write_text(json.dumps(values), encoding="utf-8")
    assert_refused(small_folder, "")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{" * 100000, '"\\ud800"', '{"schema_version": 1}', "\x00"])
def test_another_description_is_refused(small_folder, text):
    (small_folder / "landmarks.json").write_text(text, encoding="utf-8")
    assert_refused(small_folder, "landmarks.json")


def changed(values, row, value):
    values = values.copy()
    values[row] = value
    return values


@pytest.mark.parametrize(
    ("file", "array", "change"),
    [
        ("landmarks.npz", "xyz", lambda v: changed(v, 3, np.nan)),
        ("landmarks.npz", "xyz", lambda v: changed(v, 3, 1e30)),
        ("landmarks.npz", "offset", lambda v: v * np.inf),
        ("landmarks.npz", "offset", lambda v: v + 1e12),
        ("landmarks.npz", "label", lambda v: changed(v, 0, 0)),
        ("landmarks.npz", "label", lambda v: changed(v, 0, -1)),
        ("landmarks.npz", "label", lambda v: changed(v, 0, 300)),
        ("landmarks.npz", "label", lambda v: np.ones_like(v)),
        ("landmarks.npz", "descriptor", lambda v: changed(v, 0, np.inf)),
        ("landmarks.npz", "descriptor", lambda v: v[:, :-1]),
        ("landmarks.npz", "error", lambda v: changed(v, 0, -1.0)),
        ("frames.npz", "map_from_camera", lambda v: changed(v, 0, 0.0)),
        ("frames.npz", "map_from_camera", lambda v: changed(v, (0, 5), 1e300)),
        ("frames.npz", "map_from_camera", lambda v: changed(v, (0, 1), 1e300)),
        ("frames.npz", "camera", lambda v: changed(v, 0, 1)),
        ("frames.npz", "camera", lambda v: changed(v, 0, -1)),
        ("frames.npz", "first_row", lambda v: changed(v, 0, 1)),
        ("frames.npz", "first_row", lambda v: changed(v, 1, 10**15)),
        ("frames.npz", "first_row", lambda v: changed(v, -1, v[-1] + 1)),
        ("frames.npz", "first_row", lambda v: changed(v, 1, 0)),
        ("frames.npz", "point_rows", lambda v: changed(v, 0, -1)),
        ("frames.npz", "point_rows", lambda v: changed(v, 0, 100000)),
        ("frames.npz", "point_rows", lambda v: v[:0]),
        ("frames.npz", "landmark_frame", lambda v: changed(v, 0, 1000)),
        ("frames.npz", "landmark_frame", lambda v: changed(v, 0, -1)),
        ("frames.npz", "landmark_frame", None),
    ],
)
def test_numbers_that_cannot_be_are_refused(small_folder, file, array, change):
    path = small_folder / file
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    value = arrays.pop(array)
    if change is not None:
        with np.errstate(invalid="ignore"):
            arrays[array] = change(value)
    write_arrays(path, arrays)
    assert_refused(small_folder, file)


def assert_refused(folder, words, of_map=None):
    """In words that name the trouble and what to do."""
    with pytest.raises(MapError) as caught:
        load_landmark_map(files_in(folder), of_map or manifest())
    assert words in str(caught.value)
    assert str(caught.value).endswith(AGAIN)
