"""What is learned of a map when it is written."""

from pathlib import Path

import pytest

from visloc_ros.core import map as map_module
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.map import open_map
from visloc_ros.localization import descriptor_index, listed_descriptors
from visloc_ros.localization.descriptor_index import DescriptorIndex
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a map that counts as a large one."""
    monkeypatch.setattr(map_module, "PAGED_FROM", 1)
    monkeypatch.setattr(descriptor_index, "MOST_COMPARED", 1)
    monkeypatch.setattr(listed_descriptors, "_REDUCED", 8)  # of thirty images
    fit = MapFit(Sim3.identity(), "where it was", {}, metric=True, gravity_aligned=True)

    def write():
        align_map(DEMO_MAP, tmp_path / "map", lambda _: fit)
        return tmp_path / "map"

    return write


def test_a_large_map_is_searched_without_learning_anything(written, monkeypatch):
    folder = written()
    monkeypatch.setattr(listed_descriptors, "learn", None)
    descriptors = open_map(folder).global_descriptors
    assert DescriptorIndex(descriptors).rank(descriptors[5].astype("float32"), 1) == [5]


def test_a_large_map_is_written_without_faiss(written, monkeypatch, caplog):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = written()
    assert (folder / "manifest.json").exists()
    assert not (folder / "lists.h5").exists()
    assert "pip install faiss-cpu" in caplog.text
