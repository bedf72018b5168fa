"""What is at a path: what cannot be looked at is there, and nothing is written over it as if it were not."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from small_map import MANIFEST, synthetic_parts

from visloc_ros.core.errors import OutputExistsError
from visloc_ros.core.files import exists
from visloc_ros.core.map_folder import read_entry
from visloc_ros.core.map_writer import check_output, save_map

NOBODY = 65534


@pytest.fixture
def locked_map():
    """A map in a folder that this process may not look into; root may, so that it is somebody else for a while."""
    folder = Path(tempfile.mkdtemp())
    save_map(folder / "room", *synthetic_parts(), MANIFEST)
    (folder / "room").chmod(0)
    folder.chmod(0o777)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    yield folder / "room"
    if is_root:
        os.seteuid(0)
    (folder / "room").chmod(0o700)
    shutil.rmtree(folder)


def test_what_cannot_be_looked_at_is_there(locked_map):
    circle = locked_map.with_name("circle")
    circle.symlink_to("circle")
    assert exists(circle)
    assert exists(locked_map / "manifest.json")
    assert not any(map(exists, (locked_map.with_name("absent"), Path("x" * 5000), Path("nul\0"))))


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_map_that_cannot_be_looked_at_is_neither_replaced_nor_taken_for_none(locked_map, overwrite):
    with pytest.raises(OutputExistsError, match=r"cannot look into .*Permission denied"):
        check_output(locked_map, overwrite=overwrite)
    assert "Permission denied" in read_entry(locked_map).problem
