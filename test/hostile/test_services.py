"""Requests that nobody should make: the node answers each in words, lives, and goes on with what it had."""

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pycolmap
import pytest

pytest.importorskip("rclpy")

from node_harness import started

from visloc_msgs.srv import BuildMap, LoadMap, SaveMap
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode

DEMO_MAP = Path("maps/demo_room.tar.gz")
OVER_LONG = "x" * 5000


@pytest.fixture(scope="module")
def good_map(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "room"
    shutil.unpack_archive(DEMO_MAP, folder)
    return folder


def changed_manifest(folder, change):
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def without_checksums(values):
    values["files"] = {}


def far_point(folder):
    changed_manifest(folder, without_checksums)
    model = pycolmap.Reconstruction(folder / "sfm")
    point_id = next(iter(model.points3D))
    model.points3D[point_id].xyz = [1e200, 0.0, 0.0]
    model.write(folder / "sfm")


def number_for_a_name(folder):
    changed_manifest(folder, lambda values: values["models"]["global"].update(name=5))


def empty_data_set(folder):
    changed_manifest(folder, without_checksums)
    with h5py.File(folder / "features.h5", "a") as file:
        group = file[next(iter(file))]
        del group["keypoints"]
        group["keypoints"] = h5py.Empty("f")


def fifo_as_manifest(folder):
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def fifo_as_features(folder):
    changed_manifest(folder, without_checksums)
    (folder / "features.h5").unlink()
    os.mkfifo(folder / "features.h5")


BROKEN_MAPS = (far_point, number_for_a_name, empty_data_set, fifo_as_manifest, fifo_as_features)


def assert_answered(harness, response, name):
    assert response.code != response.SUCCESS, name
    assert 10 < len(response.message) < 1000, (name, response.message)
    assert "\n" not in response.message, name
    assert "Error:" not in response.message, (name, response.message)
    assert harness.node.guard.failures == {}, name


@pytest.fixture
def anchor_node(good_map, ros_domain):
    with started(AnchorNode, "-p", f"map_path:={good_map}") as harness:
        yield harness


def test_a_broken_map_is_refused_and_the_old_one_stays(anchor_node, good_map, tmp_path):
    for damage in BROKEN_MAPS:
        bad = tmp_path / damage.__name__
        shutil.copytree(good_map, bad)
        damage(bad)
        answer = anchor_node.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(bad)))
        assert_answered(anchor_node, answer, damage.__name__)
        of_manifest = damage in (number_for_a_name, fifo_as_manifest)
        assert answer.code == (answer.INVALID_MAP_METADATA if of_manifest else answer.INVALID_MAP_DATA), damage.__name__
        again = anchor_node.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(good_map)))
        assert again.code == LoadMap.Response.SUCCESS, damage.__name__


NO_MAP = (
    LoadMap.Response.MAP_DOES_NOT_EXIST,
    LoadMap.Response.INVALID_MAP_DATA,
    LoadMap.Response.INVALID_MAP_METADATA,  # of the home folder
)


def test_no_path_ends_the_anchor_node(anchor_node):
    for path in ("", OVER_LONG, "a", "/dev/zero", "/proc/self/mem", "~"):
        answer = anchor_node.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=path))
        assert_answered(anchor_node, answer, path[:20])
        assert answer.code in NO_MAP, path[:20]
        answer = anchor_node.call(SaveMap, "anchor_node/save_map", SaveMap.Request(path=path))
        assert_answered(anchor_node, answer, path[:20])


def tum_of_many_digits(folder):
    path = folder / "poses.txt"
    path.write_text("9" * 30 + " 0 0 0 0 0 0 1\n")
    return {"reference_poses": str(path)}


def number_for_a_key(folder):
    path = folder / "config.yaml"
    path.write_text("1: 2\n")
    return {"config_file": str(path)}


def fifo(folder):
    os.mkfifo(folder / "pipe")
    return str(folder / "pipe")


BAD_REQUESTS = {
    "over-long source": lambda folder: {"source": OVER_LONG},
    "over-long name": lambda folder: {"name": OVER_LONG},
    "key that is a number": number_for_a_key,
    "stamp of 30 digits": tum_of_many_digits,
    "pipe as source": lambda folder: {"source": fifo(folder)},
    "pipe as poses": lambda folder: {"reference_poses": fifo(folder)},
    "endless config": lambda folder: {"config_file": "/dev/zero"},
    "name outside": lambda folder: {"name": "../x"},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    import cv2

    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
    return folder


def test_no_request_ends_the_map_builder(images, tmp_path, ros_domain):
    maps = tmp_path / "maps"
    with started(MapBuilderNode, "-p", f"maps_folder:={maps}") as harness:
        for index, (name, make) in enumerate(BAD_REQUESTS.items()):
            folder = tmp_path / str(index)
            folder.mkdir()
            request = {"source": str(images), "name": "hall"} | make(folder)
            answer = harness.call(BuildMap, "map_builder_node/build_map", BuildMap.Request(**request))
            assert_answered(harness, answer, name)
            assert not list(maps.glob("*")), name
