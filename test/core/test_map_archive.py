"""Maps packed in one file, and archives that are no maps."""

import io
import shutil
import tarfile

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_archive import export_map


def test_a_packed_map_opens(saved, tmp_path):
    archive = pack_map(saved, tmp_path / "reference.tar.gz")
    assert np.array_equal(open_map(archive).points, open_map(saved).points)
    assert [path.name for path in tmp_path.iterdir()] == ["reference.tar.gz"]


def test_a_map_packed_with_its_folder_opens(saved, tmp_path):
    with tarfile.open(tmp_path / "room.tar.gz", "w:gz") as tar:
        tar.add(saved, arcname="room")
    assert len(open_map(tmp_path / "room.tar.gz").images) == 6


def test_an_archive_is_not_overwritten_unasked(saved, tmp_path):
    archive = pack_map(saved, tmp_path / "reference.tar.gz")
    with pytest.raises(OutputError, match="already exists"):
        pack_map(saved, archive)
    pack_map(saved, archive, overwrite=True)


def test_an_archive_inside_its_own_map_folder_does_not_pack_itself(broken):
    archive = pack_map(broken, broken / "reference.tar.gz")
    assert len(open_map(archive).images) == 6
    pack_map(broken, archive, overwrite=True)
    with tarfile.open(archive) as tar:
        assert "reference.tar.gz" not in tar.getnames()


def test_only_maps_are_packed(tmp_path):
    with pytest.raises(MapError, match="nothing to pack"):
        pack_map(tmp_path, tmp_path / "reference.tar.gz")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_truncated_archive_is_refused(saved, tmp_path, kept):
    archive = pack_map(saved, tmp_path / "reference.tar.gz")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(MapError, match=r"reference\.tar\.gz"):
        open_map(archive)


@pytest.mark.parametrize("name", ["/outside.txt", "../outside.txt", "sfm/../../outside.txt"])
def test_members_outside_the_map_are_refused(tmp_path, name):
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(MapError, match="outside the map"):
        open_map(tmp_path / "evil.tar.gz")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("features.h5")
        member.type = kind
        member.linkname = "/etc/hostname"
        tar.addfile(member)
    with pytest.raises(MapError, match="a link, a device"):
        open_map(tmp_path / "evil.tar.gz")


def test_the_same_member_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("features.h5"), io.BytesIO(b""))
    with pytest.raises(MapError, match="broken"):
        open_map(tmp_path / "evil.tar.gz")


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path):
    member = tarfile.TarInfo("features.h5")
    member.size = 1 << 40
    (tmp_path / "bomb.tar").write_bytes(member.tobuf() + b"\0" * 1024)
    with pytest.raises(MapError, match="more than a map can hold"):
        open_map(tmp_path / "bomb.tar")


def test_a_folder_and_an_archive_are_exported_as_they_were_loaded(saved, tmp_path):
    loaded = open_map(saved)
    archive = tmp_path / "out" / "room.tar.gz"
    assert export_map(saved, loaded.manifest, archive) == archive.stat().st_size
    again = tmp_path / "again.tar.gz"
    assert export_map(archive, loaded.manifest, again) == again.stat().st_size
    assert np.array_equal(open_map(again).points, loaded.points)


def test_nothing_is_overwritten_and_the_name_says_what_it_is(saved, tmp_path):
    loaded = open_map(saved).manifest
    archive = tmp_path / "room.tar.gz"
    archive.write_bytes(b"mine")
    with pytest.raises(OutputError, match="already exists"):
        export_map(saved, loaded, archive)
    assert archive.read_bytes() == b"mine"
    for name in ("room.zip", ".tar.gz", "room"):
        with pytest.raises(ConfigError, match=r"\.tar\.gz"):
            export_map(saved, loaded, tmp_path / name)


@pytest.mark.parametrize("as_archive", [False, True])
def test_a_map_that_changed_after_it_was_loaded_is_not_passed_off_as_it(saved, broken, tmp_path, as_archive):
    loaded = open_map(saved).manifest
    (broken / "features.h5").write_bytes(b"")
    source = pack_map(broken, tmp_path / "packed.tar.gz") if as_archive else broken
    with pytest.raises(MapError, match=r"features\.h5"):
        export_map(source, loaded, tmp_path / "room.tar.gz")
    text = (broken / "manifest.json").read_text()
    (broken / "manifest.json").write_text(text.replace(f'"name": "{loaded.name}"', '"name": "another"'))
    source = pack_map(broken, tmp_path / "packed.tar.gz", overwrite=True) if as_archive else broken
    with pytest.raises(MapError, match="another map"):
        export_map(source, loaded, tmp_path / "room.tar.gz")
    assert not (tmp_path / "room.tar.gz").exists()


def test_a_map_that_is_gone_cannot_be_exported(broken, tmp_path):
    loaded = open_map(broken).manifest
    shutil.rmtree(broken)
    with pytest.raises(MapError, match="gone"):
        export_map(broken, loaded, tmp_path / "room.tar.gz")
