"""Zip archives from strangers: plain files below one folder, or a refusal in words. Tar: test_map_archive.py."""

import io
import stat
import struct
import tarfile
import zipfile

import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.core.unpacking import Contents, unpack_tar, unpack_zip

DATA = Contents("data set", SourceError, "fetch it again")


@pytest.fixture
def pack(tmp_path):
    def pack(*members, method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return tmp_path / "a.zip"

    return pack


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unpacked").mkdir()
    return tmp_path / "unpacked"


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info, target


def test_files_and_folders_arrive(pack, folder):
    assert unpack_zip(pack(("a/", ""), ("a/b.txt", "b"), ("c/d.txt", "dd")), folder, DATA) == 3
    assert (folder / "a" / "b.txt").read_text() == "b"
    assert (folder / "c" / "d.txt").read_text() == "dd"


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../evil", "x"), "points outside"),
        (("a/../../evil", "x"), "points outside"),
        (("/evil", "x"), "points outside"),
        (("..\\evil", "x"), "points outside"),
        pytest.param(("a/" * 1500 + "x", "x"), "more folders in each other", id="deep"),
        (link("a", "/etc/passwd"), "is a link"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(getattr(value[0], "filename", value[0])),
)
def test_what_leads_out_is_refused(pack, folder, tmp_path, member, words):
    with pytest.raises(SourceError, match=words):
        unpack_zip(pack(member), folder, DATA)
    assert not (tmp_path / "evil").exists()
    assert list(folder.iterdir()) == []


def test_a_bomb_is_refused_before_anything_is_written(pack, folder):
    bomb = pack(("zeros", bytes(200 << 20)), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(SourceError, match="more than a data set can hold"):
        unpack_zip(bomb, folder, DATA)
    assert list(folder.iterdir()) == []


def test_a_member_that_is_larger_than_it_says_is_refused(pack, folder):
    path = pack(("zeros", bytes(100_000)), method=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    with pytest.raises(SourceError, match="fetch it again"):
        unpack_zip(path, folder, DATA)


def test_more_than_is_left_is_refused(pack, folder):
    with pytest.raises(SourceError, match="more than a data set can hold"):
        unpack_zip(pack(("a", "12345")), folder, DATA, at_most=4)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not a data set"), (b"<html>", "a web page"), (b"PK\x03\x04" + bytes(100), "not a data set")],
)
def test_what_is_no_archive_is_refused(tmp_path, folder, content, words):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceError, match=words):
        unpack_zip(tmp_path / "a.zip", folder, DATA)
    with pytest.raises(SourceError, match=words):
        unpack_tar(tmp_path / "a.zip", folder, DATA)


def test_a_doubled_name_is_refused(pack, folder):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack(("a", "1"), ("a", "2"))
    with pytest.raises(SourceError, match="a data set"):
        unpack_zip(path, folder, DATA)


def test_a_link_in_a_tar_archive_is_refused_in_the_words_of_its_contents(tmp_path, folder):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member, io.BytesIO())
    with pytest.raises(SourceError, match="is a link"):
        unpack_tar(tmp_path / "a.tgz", folder, DATA)
