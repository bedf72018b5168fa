"""Landmarks as PRAM keeps them: taken for a map of other features of the same place, read without unpickling."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.errors import ConfigError, MapError
from visloc_search.landmarks.clustering import label_points
from visloc_search.landmarks.config import LandmarkConfig
from visloc_search.landmarks.given_clusters import read_given_clusters
from visloc_search.landmarks.tokens import BACKGROUND

NAME = "point3D_cluster_n4_xz_birch.npy"
COLUMNS = 4


def cluster_of(points):
    """Columns along the hall, which is 12 m long."""
    return np.clip((points[:, 0] // (12.0 / COLUMNS)).astype(np.int64), 0, COLUMNS - 1)


def write_clusters(path, ids, labels, **others):
    np.save(path, {"id": np.asarray(ids), "label": np.asarray(labels), **others}, allow_pickle=True)


@pytest.fixture
def place(tmp_path, hall_map):
    """PRAM's folder of the hall: points beside those of the map, some of them without a cluster."""
    scene = tmp_path / "landmarks" / "hall"
    (scene / "3D-models").mkdir(parents=True)
    points = hall_map.points + np.random.default_rng(3).normal(0.0, 0.02, hall_map.points.shape)
    model, ids = pycolmap.Reconstruction(), []
    for xyz in points:
        ids.append(model.add_point3D(xyz, pycolmap.Track()))
    model.write_binary(scene / "3D-models")
    labels = cluster_of(points)
    labels[::7] = -1
    write_clusters(scene / NAME, ids, labels, xyz=points)
    return scene


def config_of(place):
    return LandmarkConfig(clusters=str(place))


@pytest.mark.parametrize("of_all_scenes", [True, False])
def test_points_get_the_landmark_of_the_given_points_around_them(place, hall_map, of_all_scenes):
    labels = label_points(hall_map, config_of(place.parent if of_all_scenes else place))
    has_landmark = labels != BACKGROUND
    assert has_landmark.mean() > 0.9
    assert np.array_equal(np.unique(labels[has_landmark]), np.arange(1, COLUMNS + 1))
    apart = np.abs(hall_map.points[:, 0] % (12.0 / COLUMNS) - 6.0 / COLUMNS) < 5.0 / COLUMNS  # far from the borders
    pairs = set(zip(labels[has_landmark & apart], cluster_of(hall_map.points[has_landmark & apart]), strict=True))
    assert len(pairs) == COLUMNS


def test_points_away_from_all_clusters_are_background(place, hall_map):
    read = read_given_clusters(place, "hall")
    kept = read.points[:, 0] < 9.0  # the last column is not given
    labels = read.clusters[kept]
    ids = np.flatnonzero(np.arange(len(hall_map.points)) % 7)[kept] + 1
    write_clusters(place / NAME, ids, labels)
    found = label_points(hall_map, config_of(place))
    assert np.all(found[hall_map.points[:, 0] > 10.5] == BACKGROUND)
    assert np.mean(found[hall_map.points[:, 0] < 8.5] != BACKGROUND) > 0.9


def test_a_scene_below_its_building(place, hall_map):
    (place.parent / "apt1").mkdir()
    place.rename(place.parent / "apt1" / "hall")
    assert len(read_given_clusters(place.parent, "apt1-hall").points) > 1000


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("kind", [np.int32, np.int64, ">i4", np.uint64])
def test_what_numpy_has_written_is_read(place, protocol, kind):
    path = place / NAME
    values = np.array({"id": np.arange(1, 301).astype(kind), "label": np.arange(300).astype(kind) % 5}, object)
    header = path.read_bytes()[: 10 + int.from_bytes(path.read_bytes()[8:10], "little")]
    path.write_bytes(header + pickle.dumps(values, protocol))
    read = read_given_clusters(place, "hall")
    assert read.clusters.tolist() == [number % 5 for number in range(300)]


class Code:
    """Runs a program when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def clusters_with(**values):
    def change(place):
        np.save(place / NAME, values, allow_pickle=True)

    return change


def cut(path, by):
    return lambda place: (place / path).write_bytes((place / path).read_bytes()[:-by])


NUMBERS = np.arange(1, 31)
BROKEN = [
    (lambda place: (place / NAME).unlink(), "neither .*hall nor .* has a file point3D_cluster.*: name PRAM's folder"),
    (lambda place: shutil.copy(place / NAME, place / NAME.replace("n4", "n8")), "several clusterings .*: take all but"),
    (
        lambda place: shutil.rmtree(place / "3D-models"),
        "the model in .*3D-models, which .* is of, cannot be read",
    ),
    (cut("3D-models/points3D.bin", 5), "cannot be read: download the landmarks again.*points3D.bin is truncated"),
    (cut(NAME, 40), "is no dictionary of NumPy with the integers 'id' and 'label'.*download the landmarks again"),
    (lambda place: (place / NAME).write_bytes(b""), "is no dictionary of NumPy"),
    (lambda place: np.save(place / NAME, NUMBERS), "is no dictionary of NumPy"),
    (clusters_with(id=NUMBERS), "is no dictionary of NumPy"),
    (clusters_with(id=NUMBERS, label=NUMBERS / 2.0), "is no dictionary of NumPy"),
    (clusters_with(id=NUMBERS, label=[Code("x")] * 30), "is no dictionary of NumPy"),
    (clusters_with(id=NUMBERS, label=NUMBERS[:-1]), "has 30 points and 29 labels"),
    (clusters_with(id=NUMBERS + 10**6, label=NUMBERS), "names the point 1000001, which the model in .* lacks"),
    (clusters_with(id=NUMBERS[:9], label=NUMBERS[:9]), "has 9 points in 9 clusters: there must be more than 20"),
    (clusters_with(id=NUMBERS, label=-NUMBERS), "has 0 points in 0 clusters"),
]


@pytest.mark.parametrize(("change", "complaint"), BROKEN)
def test_broken_landmarks_are_refused(place, hall_map, change, complaint):
    change(place)
    with pytest.raises((ConfigError, MapError), match=complaint) as refused:
        label_points(hall_map, config_of(place))
    assert str(place) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_clusters_of_another_frame_are_refused(place, hall_map):
    moved = replace(hall_map, points=hall_map.points + np.array([0.0, 40.0, 0.0]))
    with pytest.raises(MapError, match=r"0 % of the points of the map 'hall' are near .*: build the map at the poses"):
        label_points(moved, config_of(place))


def test_code_in_the_file_is_never_run(place, hall_map, tmp_path):
    clusters_with(id=NUMBERS, label=NUMBERS, more=Code(tmp_path / "run"))(place)
    read_given_clusters(place, "hall")
    assert not (tmp_path / "run").exists()


def test_no_damage_to_the_file_does_more_than_refuse_it(place):
    content, rng = (place / NAME).read_bytes(), np.random.default_rng(0)
    end, refused = content.index(b"label") + 200, 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[int(rng.integers(128, end))] = int(rng.integers(256))
        last = int(rng.integers(200, len(damaged))) if rng.random() < 0.2 else len(damaged)
        (place / NAME).write_bytes(bytes(damaged[:last]))
        try:
            read_given_clusters(place, "hall")
        except MapError:
            refused += 1
    assert refused > 50
