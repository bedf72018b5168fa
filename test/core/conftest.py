"""A small synthetic map: its parts, saved, and as a copy that may be broken."""

import shutil
from pathlib import Path

import pytest
from small_map import MANIFEST, synthetic_parts

from visloc_ros.core.map import save_map


@pytest.fixture(scope="module")
def parts():
    """A reconstruction of six images and everything else that a map holds."""
    return synthetic_parts()


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "room"
    save_map(path, *parts, MANIFEST)
    return path


@pytest.fixture
def broken(saved, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "broken"))
