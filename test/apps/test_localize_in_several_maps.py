"""``visloc localize --also``: images are found in the map that they show, and each pose tells which."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from visloc_command import DEMO_MAP, succeed, visloc

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.feature_files import write_local_features
from visloc_ros.core.manifest import file_info, read_manifest, write_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked


def other_room(path, name):
    """A room in which everything looks otherwise."""
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, path)
    rng, images = np.random.default_rng(0), open_map(path).images
    shuffled = [replace(one.features, descriptors=rng.permutation(one.features.descriptors)) for one in images]
    write_local_features(path / "features.h5", {one.name: new for one, new in zip(images, shuffled, strict=True)})
    manifest = read_manifest(path)
    files = {**manifest.files, "features.h5": file_info(path / "features.h5")}
    write_manifest(path, replace(manifest, name=name, files=files))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    other_room(folder / "hall", "hall")
    shutil.copytree(folder / "hall", folder / "odd")
    write_manifest(folder / "odd", replace(read_manifest(folder / "odd"), name="../../odd"))
    (folder / "walk.yaml").write_text("{duration_s: 1.0, rate_hz: 1.0, samples: 1}")
    visloc("simulate", folder / "walk", "--pass", "localize", "--config", folder / "walk.yaml")
    return folder


def test_each_image_is_found_in_its_map_and_written_to_its_folder(folder, tmp_path, caplog):
    words = ("localize", folder / "hall", folder / "walk", "--also", DEMO_MAP, "--output", tmp_path / "out")
    told = succeed(*words, "--timings", "--json")
    maps = json.loads(told.stdout)["maps"]
    assert {name: one["localized"] for name, one in maps.items()} == {"hall": 0, "demo_room": 1}
    assert all(one["success"] for one in maps["demo_room"]["frames"])
    assert "demo_room: localized 1 of 1 frames" in told.stderr
    assert "replaced" not in caplog.text
    assert "px  demo_room" in told.stderr or "ms  demo_room" in told.stderr
    lines = {name: (tmp_path / "out" / name / "poses.tum").read_text().splitlines() for name in maps}
    assert {name: len(line) for name, line in lines.items()} == {"hall": 1, "demo_room": 2}  # with headers
    assert json.loads((tmp_path / "out" / "demo_room" / "summary.json").read_text())["localized"] == 1
    succeed(*words)
    assert f"{tmp_path / 'out' / 'hall'} holds results of an earlier run" in caplog.text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--also", "HALL"), "two maps are called 'hall'"),
        (("--also", "ROOM", "--ground-truth", "TRUTH"), "leave out --ground-truth, or --also"),
        (("--also", "ODD", "--output", "OUT"), "cannot be that of a folder"),
    ],
)
def test_what_cannot_be_done_is_reported(folder, tmp_path, words, complaint):
    named = {"HALL": folder / "hall", "ROOM": DEMO_MAP, "TRUTH": tmp_path / "truth.tum", "OUT": tmp_path / "out"}
    named["ODD"] = folder / "odd"
    refused = visloc("localize", folder / "hall", folder / "walk", *(named.get(word, word) for word in words))
    assert complaint in str(refused.exception)
    assert isinstance(refused.exception, ConfigError)
    assert not (tmp_path / "out").exists()
