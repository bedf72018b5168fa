"""The files of a map for copies of it, whatever has become of an earlier version beside it."""

import shutil

import pytest
from small_map import MANIFEST
from small_versions import PARTS, own_files, update
from test_damaged_versions import DAMAGES

from visloc_ros.core.map_writer import save_map
from visloc_server.map_files import list_files


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    path = tmp_path_factory.mktemp("versions") / "room"
    save_map(path, *PARTS, MANIFEST)
    update(path, "monday")
    return path


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_present_version_is_listed(two_versions, tmp_path, damage):
    path = shutil.copytree(two_versions, tmp_path / "maps" / "room")
    DAMAGES[damage](path / "versions" / "1")
    listed = list_files(path)
    assert listed.version == 2
    assert listed.files.keys() == {name.as_posix() for name in own_files(path)}
