"""``visloc prepare`` and ``visloc compare``: a map gets landmarks, or fused descriptors, and is searched so."""

import json
import shutil
from pathlib import Path

import pytest
from visloc_command import DEMO_MAP, succeed, visloc

from visloc_ros.core.map import open_map

QUICK = """
recogniser: network
training:
  size: nano
  prototypes: 16
  max_steps: 50
  batch: 8
  device: cpu
  tokens: 128
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A map that was prepared with frames of its place, the frames, and what was told."""
    folder = tmp_path_factory.mktemp("prepare")
    shutil.copy(DEMO_MAP, folder / "room.tar.gz")
    (folder / "walk.yaml").write_text("{duration_s: 4.0, rate_hz: 1.0, samples: 1}")
    visloc("simulate", folder / "walk", "--pass", "localize", "--config", folder / "walk.yaml")
    (folder / "quick.yaml").write_text(QUICK)
    words = ("prepare", folder / "room.tar.gz", "--for", "landmarks", "--config", folder / "quick.yaml")
    told = succeed(*words, "--source", folder / "walk", "--every", 2, "--json")
    return folder, json.loads(told.stdout)


def test_what_was_prepared_is_reported(place):
    folder, told = place
    assert [one["map"] for one in told] == [str(folder / "room.tar.gz")]
    assert told[0]["landmarks"] >= 2


def test_both_ways_find_the_images_and_a_picture_shows_it(place, tmp_path):
    folder, _ = place
    told = succeed("compare", folder / "room.tar.gz", folder / "walk", "--output", tmp_path / "out", "--json")
    figures = json.loads(told.stdout)
    assert list(figures) == ["retrieval", "landmarks"]  # all that the map is prepared for
    for figure in figures.values():
        assert figure["found"] == figure["images"] == 4
        assert figure["recall"][0]["percent"] == 100.0
        assert figure["position_m"] < 0.02
    assert sum(figures["landmarks"]["bytes"].values()) < sum(figures["retrieval"]["bytes"].values())
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["landmarks"]["found"] == 4


@pytest.fixture(scope="module")
def fused(place):
    shutil.copy(DEMO_MAP, place[0] / "fused.tar.gz")
    (place[0] / "fused.yaml").write_text("{rho: 0.35, storage: int8}")
    told = succeed("prepare", place[0] / "fused.tar.gz", "--for", "fused", "--config", place[0] / "fused.yaml")
    return place[0] / "fused.tar.gz", told.stdout


class TestFused:
    """The same room with fused descriptors."""

    def test_what_was_made_and_what_it_takes_is_reported(self, fused):
        assert "rho 0.35" in fused[1]
        assert "as float16" in fused[1]
        assert "search it with anchor.search 'fused'" in fused[1]

    def test_images_are_found_beside_retrieval_with_fewer_bytes(self, place, fused):
        figures = json.loads(visloc("compare", fused[0], place[0] / "walk", "--json").stdout)
        assert list(figures) == ["retrieval", "fused"]
        assert figures["fused"]["found"] == 4
        assert figures["fused"]["position_m"] < 0.02
        assert sum(figures["fused"]["bytes"].values()) < 0.5 * sum(figures["retrieval"]["bytes"].values())

    def test_features_are_extracted_again_from_the_frames_of_the_map(self, fused, place):
        told = visloc("prepare", fused[0], "--for", "fused", "--source", place[0] / "walk")
        assert "no frame of the source is called as an image of the map" in str(told.exception)


def test_maps_are_prepared_at_once_as_they_are_alone(fused, tmp_path):
    (tmp_path / "fused.yaml").write_text("{rho: 0.35, storage: int8}")
    copies = [Path(shutil.copy(DEMO_MAP, tmp_path / f"{name}.tar.gz")) for name in "ab"]
    told = succeed("prepare", *copies, "--for", "fused", "--config", tmp_path / "fused.yaml", "--workers", 2, "--json")
    alone = open_map(fused[0]).manifest.prepared["fused"]
    assert [one["map"] for one in json.loads(told.stdout)] == [str(path) for path in copies]
    for path in copies:
        assert open_map(path).manifest.prepared["fused"]["points"] == alone["points"]


def test_the_table_has_a_row_for_each_way(place):
    folder, _ = place
    told = visloc("compare", folder / "room.tar.gz", folder / "walk", "--every", 4, "--search", "landmarks,retrieval")
    lines = [line.split() for line in told.stdout.splitlines() if line.strip()]
    assert [line[0] for line in lines if line[0] in ("landmarks", "retrieval")] == ["landmarks", "retrieval"]


def test_frames_are_localized_by_landmarks(place, tmp_path):
    folder, _ = place
    (tmp_path / "anchor.yaml").write_text("search: landmarks")
    words = ("localize", folder / "room.tar.gz", folder / "walk", "--config", tmp_path / "anchor.yaml", "--json")
    assert json.loads(visloc(*words).stdout)["localized"] == 4


@pytest.fixture(scope="module")
def small(place):
    """The map reduced to landmarks, and what was told."""
    folder, _ = place
    told = succeed("maps", "reduce", folder / "room.tar.gz", "--for", "landmarks", "-o", folder / "small", "--json")
    return folder / "small", json.loads(told.stdout)


def test_a_map_is_reduced_and_told_to_be(small):
    path, told = small
    assert told["map"] == str(path)
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) == told["bytes"] < told["whole_bytes"]
    assert "landmarks only, the rest of the map is not here" in visloc("maps", "info", path).output
    succeed("maps", "check", path)
    entry = json.loads(visloc("maps", "info", path, "--json").stdout)
    assert (entry["searches"], entry["reduced"]) == (["landmarks"], True)
    words = ("maps", "reduce", path.parent / "room.tar.gz", "--for", "landmarks", "--output", path, "--overwrite")
    assert f"{told['bytes'] / 1e6:.2f} of" in visloc(*words).output


def test_a_reduced_map_is_searched(place, small):
    folder, _ = place
    told = visloc("localize", small[0], folder / "walk", "--every", 4, "--search", "landmarks", "--json")
    assert json.loads(told.stdout)["localized"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("localize", "SMALL", "WALK"),
        ("run", "SMALL", "WALK", "--output", "NEW"),
        ("prepare", "SMALL", "--for", "landmarks"),
        ("prepare", "MAP", "--for", "landmarks", "--config", "QUICK", "--elsewhere", "SMALL"),
        ("maps", "reduce", "SMALL", "--for", "landmarks", "--output", "NEW"),
        ("maps", "merge", "MAP", "SMALL", "--output", "NEW"),
        ("align-map", "SMALL", "--floor", "--output", "NEW"),
        ("build-map", "WALK", "--add-to", "SMALL", "--output", "NEW"),
        ("export-hloc", "SMALL", "--output", "NEW"),
    ],
)
def test_what_needs_the_whole_map_says_so(place, small, tmp_path, words):
    folder, _ = place
    named = {"MAP": folder / "room.tar.gz", "SMALL": small[0], "WALK": folder / "walk", "NEW": tmp_path / "new"}
    named["QUICK"] = folder / "quick.yaml"
    refused = visloc(*(named.get(word, word) for word in words))
    assert refused.exit_code != 0
    assert "holds nothing but what the search by landmarks needs" in str(refused.exception)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("prepare", "MAP", "--for", "magic"), "name fused or instances or landmarks"),
        (("prepare", "MAP", "--for", "fused", "--elsewhere", "MAP"), "leave --elsewhere and --texts out"),
        (("prepare", "MAP", "MAP", "--for", "fused", "--source", "WALK"), "prepare its map alone"),
        (
            ("prepare", "MAP", "--for", "fused", "--source", "WALK", "--workers", "2"),
            "in this process: leave out --engine",
        ),
        (("compare", "MAP", "WALK", "--search", "fused"), "visloc prepare MAP --for fused"),
        (("prepare", "nowhere", "--for", "landmarks"), "there is no map"),
        (("prepare", "MAP", "--for", "landmarks", "--elsewhere", "MAP"), "set recogniser to 'network'"),
        (("prepare", "MAP", "--for", "landmarks", "--config", "QUICK", "--elsewhere", "nowhere"), "there is no map"),
        (("compare", "MAP", "WALK", "--search", "retrieval,magic"), "no way of searching 'magic'"),
        (("compare", "MAP", "WALK", "--search", "landmarks"), "visloc prepare MAP --for landmarks"),
    ],
)
def test_what_cannot_be_done_is_reported_in_words(place, words, complaint):
    folder, _ = place
    named = {"MAP": DEMO_MAP, "WALK": folder / "walk", "QUICK": folder / "quick.yaml"}
    refused = visloc(*(named.get(word, word) for word in words))
    assert refused.exit_code != 0
    assert complaint in str(refused.exception)
