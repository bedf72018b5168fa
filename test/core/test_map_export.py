"""The map in use as one file: what was loaded, or a reason."""

import shutil

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.core.map_export import export_map


def test_a_folder_and_an_archive_are_exported_as_they_were_loaded(saved, tmp_path):
    loaded = open_map(saved)
    archive = tmp_path / "out" / "room.tar.gz"
    assert export_map(saved, loaded.manifest, archive) == archive.stat().st_size
    again = tmp_path / "again.tar.gz"
    assert export_map(archive, loaded.manifest, again) == again.stat().st_size
    assert np.array_equal(open_map(again).points, loaded.points)


def test_nothing_is_overwritten_and_the_name_tells_what_it_is(saved, tmp_path):
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
