"""What a way of searching prepares becomes a part of the map, and costs nothing of it where that fails."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, ManifestError, MapError, OutputError
from visloc_ros.core.manifest import UncertaintyInfo, file_info, read_manifest, write_manifest
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_archive import export_map, unpacked
from visloc_ros.core.map_check import check_map
from visloc_ros.core.map_folder import read_entry
from visloc_ros.core.map_preparation import add_prepared, put_section, write_reduced

ROOM = Path(__file__).parents[2] / "maps" / "demo_room.tar.gz"


@pytest.fixture(params=["folder", "archive"])
def room(request, tmp_path):
    if request.param == "archive":
        return Path(shutil.copy(ROOM, tmp_path / "room.tar.gz"))
    with unpacked(ROOM) as folder:
        return Path(shutil.copytree(folder, tmp_path / "room"))


def prepare(room, way, write):
    return add_prepared(room, way, open_map(room).manifest, write)


def writes(text):
    def write(folder):
        (folder / "part").mkdir()
        (folder / "words.txt").write_text(text)
        (folder / "part" / "more.txt").write_text(text)
        return {"length": len(text)}

    return write


def test_what_is_prepared_is_read_with_the_map(room):
    before = open_map(room)
    prepare(room, "landmarks", writes("abc"))
    after = open_map(room)
    assert after.prepared == {"landmarks": {"words.txt": b"abc", "part/more.txt": b"abc"}}
    assert after.manifest.prepared == {"landmarks": {"length": 3}}
    assert replace(after.manifest, prepared={}, files=before.manifest.files) == before.manifest
    assert after.thumbnails == before.thumbnails
    assert not list(room.parent.glob(".*"))


def test_preparing_again_replaces_what_was_there_and_nothing_of_other_ways(room):
    prepare(room, "fused", writes("fused"))
    prepare(room, "landmarks", writes("abc"))

    def write_another(folder):
        (folder / "new.txt").write_text("")
        return {}

    prepare(room, "landmarks", write_another)
    prepared = open_map(room).prepared
    assert prepared["landmarks"] == {"new.txt": b""}
    assert prepared["fused"]["words.txt"] == b"fused"


def test_the_map_stays_as_it_was_where_preparing_fails(room):
    prepare(room, "landmarks", writes("abc"))

    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(room, "landmarks", fail)
    assert open_map(room).prepared["landmarks"]["words.txt"] == b"abc"
    assert not list(room.parent.glob(".*"))


def test_a_damaged_file_is_reported(tmp_path):
    with unpacked(ROOM) as folder:
        room = Path(shutil.copytree(folder, tmp_path / "room"))
    prepare(room, "landmarks", writes("abc"))
    (room / "landmarks" / "words.txt").write_text("abe")
    with pytest.raises(MapError, match=r"words\.txt has changed"):
        open_map(room)
    (room / "landmarks" / "words.txt").unlink()
    with pytest.raises(MapError, match=r"words\.txt is missing"):
        open_map(room)


def test_files_do_not_lie_outside_the_map(tmp_path):
    with unpacked(ROOM) as folder:
        room = Path(shutil.copytree(folder, tmp_path / "room"))
    manifest = prepare(room, "landmarks", writes("abc"))
    (tmp_path / "words.txt").write_text("abc")
    (room / "landmarks" / "words.txt").unlink()
    (room / "landmarks" / "words.txt").symlink_to(tmp_path / "words.txt")
    write_manifest(room, manifest)
    with pytest.raises(MapError):
        open_map(room)


def test_only_maps_of_this_package(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(MapError, match="import-hloc"):
        add_prepared(tmp_path / "other", "landmarks", open_map(ROOM).manifest, writes("abc"))


CARD = "<main><section>Images</section>\n<footer>Map format</footer></main>"


def test_a_section_stands_before_the_footer_and_is_replaced(tmp_path):
    card = tmp_path / "map.html"
    card.write_text(CARD)
    put_section(tmp_path, "landmarks", "<p>first</p>")
    put_section(tmp_path, "fused", "<p>other</p>")
    put_section(tmp_path, "landmarks", "<p>second</p>")
    text = card.read_text()
    assert "first" not in text
    assert text.index("Images") < text.index("other") < text.index("second") < text.index("<footer>")
    assert text.replace(text[text.index("<!--") : text.index("<footer>")], "") == CARD


@pytest.mark.parametrize("content", [None, "", "no card at all", "<!-- landmarks -->\n cut off"])
def test_what_is_no_card_is_no_card_afterwards(tmp_path, content):
    card = tmp_path / "map.html"
    if content is not None:
        card.write_text(content)
    put_section(tmp_path, "landmarks", "<p>section</p>")
    assert card.exists() == (content is not None)
    assert content is None or card.read_text() == content


def test_a_link_elsewhere_is_not_written_through(tmp_path):
    other = tmp_path / "other.html"
    other.write_text(CARD)
    (tmp_path / "map.html").symlink_to(other)
    put_section(tmp_path, "landmarks", "<p>section</p>")
    assert other.read_text() == CARD


OF_MAP = UncertaintyInfo(1e-4, 1e-5, np.eye(6).tolist(), np.eye(6).tolist(), 0.1, 0.2)


def writes_words(text):
    def write(folder):
        (folder / "part").mkdir()
        (folder / "part" / "words.txt").write_text(text)
        return {"length": len(text)}

    return write


@pytest.fixture
def whole(broken):
    """A map that two ways of searching have prepared."""
    prepare(broken, "one", writes_words("of one"))
    prepare(broken, "two", writes_words("of two"))
    (broken / "map.html").write_text("card")
    return broken


@pytest.fixture
def reduced(whole, tmp_path):
    write_reduced(open_map(whole), whole, tmp_path / "small", "one", OF_MAP)
    return tmp_path / "small"


def test_only_what_one_way_prepared_is_written(whole, reduced):
    files = sorted(path.relative_to(reduced).as_posix() for path in reduced.rglob("*") if path.is_file())
    assert files == ["manifest.json", "one/part/words.txt"]
    before, after = read_manifest(whole), read_manifest(reduced)
    assert (after.prepared, after.uncertainty, list(after.files)) == ({"one": {"length": 6}}, OF_MAP, files[1:])
    assert after.whole_files == before.files
    same = {"files": before.files, "prepared": before.prepared, "uncertainty": before.uncertainty, "reduced": None}
    assert replace(after, **same) == before


def test_it_opens_where_that_suffices_and_is_refused_elsewhere(whole, reduced):
    small = open_map(reduced, reduced=True)
    assert small.prepared == {"one": {"part/words.txt": b"of one"}}
    assert (len(small.images), small.points.shape) == (0, (0, 3))
    assert small.identity == open_map(whole).identity
    with pytest.raises(MapError, match=r"--search one.*bring the whole map"):
        open_map(reduced)
    assert len(open_map(whole, reduced=True).images) > 0


def test_it_is_listed_checked_packed_and_exported_as_other_maps_are(reduced, tmp_path):
    entry = read_entry(reduced)
    assert (entry.problem, entry.manifest.reduced.search) == ("", "one")
    check_map(reduced)
    small = open_map(reduced, reduced=True)
    archive = pack_map(reduced, tmp_path / "packed.tar.gz")
    export_map(archive, small.manifest, tmp_path / "exported.tar.gz")
    assert open_map(tmp_path / "exported.tar.gz", reduced=True).prepared == small.prepared


def test_an_archive_is_reduced_to_an_archive(whole, reduced, tmp_path):
    archive = pack_map(whole, tmp_path / "whole.tar.gz")
    write_reduced(open_map(archive), archive, tmp_path / "small.tar.gz", "one", OF_MAP)
    with unpacked(tmp_path / "small.tar.gz") as folder:
        assert read_manifest(folder) == read_manifest(reduced)


def test_nothing_is_overwritten_unasked_and_never_the_whole_map(whole, tmp_path):
    loaded = open_map(whole)
    for name in ("small", "small.tar.gz"):
        write_reduced(loaded, whole, tmp_path / name, "one", OF_MAP)
        with pytest.raises(OutputError, match="already"):
            write_reduced(loaded, whole, tmp_path / name, "two", OF_MAP)
        write_reduced(loaded, whole, tmp_path / name, "two", OF_MAP, overwrite=True)
        assert open_map(tmp_path / name, reduced=True).prepared.keys() == {"two"}
    with pytest.raises(ConfigError, match="would be lost"):
        write_reduced(loaded, whole, whole, "one", OF_MAP, overwrite=True)
    (tmp_path / "folder").mkdir()
    archive = pack_map(whole, tmp_path / "folder" / "reference.tar.gz")
    for output in (archive, archive.parent):
        with pytest.raises(ConfigError, match="would be lost"):
            write_reduced(loaded, archive.parent, output, "one", OF_MAP, overwrite=True)
    assert len(open_map(whole).images) == len(open_map(archive).images)


def test_what_was_there_stays_where_writing_fails(whole, reduced, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match="free some space"):
        write_reduced(open_map(whole), whole, reduced, "two", OF_MAP, overwrite=True)
    assert open_map(reduced, reduced=True).prepared.keys() == {"one"}
    assert not list(reduced.parent.glob(".*"))


def test_a_map_that_is_not_prepared_for_it_cannot_be_reduced(whole, saved, tmp_path):
    with pytest.raises(MapError, match="prepared for one and two, not for three"):
        write_reduced(open_map(whole), whole, tmp_path / "small", "three", OF_MAP)
    with pytest.raises(MapError, match="prepared for no way of searching, not for one"):
        write_reduced(open_map(saved), saved, tmp_path / "small", "one", OF_MAP)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"reduced": {"search": "two", "files": {}}}, "garbled"),
        ({"reduced": {"search": ["one"], "files": {}}}, "garble"),
        ({"reduced": {"search": "one"}}, "garbles"),
        ({"reduced": {"search": "one", "files": {"a": 1}}}, "garbles"),
        ({"reduced": "one"}, "garbles"),
        ({"uncertainty": None}, "reduce the whole map again"),
        ({"files": {"one/part/words.txt": {"sha256": "", "size": 1}}}, r"words\.txt has 6 bytes instead of 1"),
    ],
)
def test_a_garbled_one_is_refused_in_words(reduced, change, complaint):
    path = reduced / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises((MapError, ManifestError), match=complaint):
        open_map(reduced, reduced=True)


def test_what_is_prepared_in_it_does_not_lie_outside(reduced, tmp_path):
    shutil.move(reduced / "one" / "part" / "words.txt", tmp_path / "words.txt")
    (reduced / "one" / "part" / "words.txt").symlink_to(tmp_path / "words.txt")
    with pytest.raises(MapError):
        open_map(reduced, reduced=True)


def test_what_was_an_atlas_is_refused_with_what_replaces_it(tmp_path):
    with unpacked(ROOM) as folder:
        path = Path(shutil.copytree(folder, tmp_path / "floor"))
    (path / "atlas.yaml").write_text("maps: {}\n")
    manifest = read_manifest(path)
    write_manifest(path, replace(manifest, files={"atlas.yaml": file_info(path / "atlas.yaml")}))
    with pytest.raises(MapError, match="visloc maps merge"):
        open_map(path)
