"""Preparing a real map: its figures, and what it takes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fused_maps import distance

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.map import open_map
from visloc_ros.core.types import Frame
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_search.fused.config import FusedConfig
from visloc_search.fused.image_parts import SKETCH_LENGTH
from visloc_search.fused.preparation import make_fused, memory_words, prepare_fused

ROOM = Path(__file__).parents[4] / "maps" / "demo_room.tar.gz"


@pytest.fixture(scope="module")
def room():
    return open_map(ROOM)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A prepared map and its figures."""
    path = Path(shutil.copy(ROOM, tmp_path_factory.mktemp("maps") / "room.tar.gz"))
    return path, prepare_fused(path)


def test_the_manifest_states_what_was_made(made):
    path, figures = made
    entry = open_map(path).manifest.prepared["fused"]
    assert json.loads(json.dumps(figures)) == entry
    assert entry["points_percent"] > 99.0
    assert entry["global"] == "vlad"
    assert entry["index"] == "exact"


def test_images_find_themselves_in_the_map(made, room):
    engine = AnchorEngine(open_map(made[0]), AnchorConfig(search="fused"))
    for image in room.images[::5]:
        frame = Frame(0, np.zeros((image.camera.height, image.camera.width), np.uint8), image.camera)
        assert distance(engine.localize(frame, features=image.features), image.map_from_camera) < 0.02


def test_nothing_is_left_beside_the_map(made):
    assert list(made[0].parent.iterdir()) == [made[0]]


class TestMemory:
    def test_parts_add_up_and_are_those_of_the_files(self, made):
        memory = made[1]["memory"]
        for storage in ("float16", "int8"):
            parts = {key: value for key, value in memory[storage].items() if not key.startswith(("total", "percent"))}
            assert memory[storage]["total"] == sum(parts.values())
        files = open_map(made[0]).manifest.files
        arrays = sum(info.size for name, info in files.items() if name.startswith("fused/") and name.endswith(".npz"))
        assert arrays == pytest.approx(memory["float16"]["total"], rel=0.02)

    def test_it_is_less_than_the_paper_has_it(self, made, room):
        memory = made[1]["memory"]
        keypoints = sum(len(image.features) for image in room.images)
        assert memory["hierarchical"] == keypoints * (128 * 2 + 8) + room.global_descriptors.size * 2
        assert memory["float16"]["percent_of_hierarchical"] <= 57.0
        assert memory["int8"]["codebook"] < 0.52 * memory["float16"]["codebook"]

    def test_descriptors_of_images_are_counted_where_they_are_kept(self, room):
        fused, figures = make_fused(room, FusedConfig(storage="int8"))
        assert figures["memory"]["stored_as"] == "int8"
        assert figures["memory"]["int8"]["globals"] == fused.sketches.nbytes == 2 * SKETCH_LENGTH * len(room.images)
        _, unconverted = make_fused(room, FusedConfig(convert=False))
        assert unconverted["memory"]["float16"]["globals"] == 0

    def test_in_words(self, made):
        assert "of the map's keypoints and global descriptors" in memory_words(made[1]["memory"])


def test_a_map_is_as_it_was_where_preparing_fails(tmp_path):
    path = Path(shutil.copy(ROOM, tmp_path / "room.tar.gz"))
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        prepare_fused(path, frames=[])
    assert path.read_bytes() == before


def test_no_such_map(tmp_path):
    with pytest.raises(MapError, match="there is no map"):
        prepare_fused(tmp_path / "nowhere")
