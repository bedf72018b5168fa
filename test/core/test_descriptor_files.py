"""The file of global descriptors is called after what made them, and only VLAD has a codebook."""

from dataclasses import replace

import numpy as np
import pytest
from small_map import MANIFEST

from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import open_map, save_map
from visloc_ros.core.map_layout import global_file_name


def described_by(name):
    return replace(MANIFEST, models={**MANIFEST.models, "global": ModelInfo(name, "MIT")})


def test_descriptors_of_a_network_are_stored_under_its_name_and_come_back(parts, tmp_path):
    reconstruction, features, descriptors, _ = parts
    nothing = np.empty((0, 0), np.float32)
    manifest = save_map(tmp_path / "room", reconstruction, features, descriptors, nothing, described_by("megaloc"))
    opened = open_map(tmp_path / "room")
    assert "global-feats-megaloc.h5" in manifest.files
    assert sorted(path.name for path in (tmp_path / "room").glob("*.h5")) == ["features.h5", "global-feats-megaloc.h5"]
    assert opened.manifest.models["global"].name == "megaloc"
    assert opened.vlad_centroids.size == 0
    stored = np.stack([descriptors[image.name] for image in opened.images])
    np.testing.assert_allclose(opened.global_descriptors, stored, atol=0.04)  # rounded as local descriptors are


def test_vlad_comes_with_its_codebook(parts, tmp_path):
    save_map(tmp_path / "room", *parts, described_by("vlad"))
    assert open_map(tmp_path / "room").vlad_centroids.shape == parts[3].shape


@pytest.mark.parametrize(
    ("descriptor", "file"),
    [
        ("vlad", "global-feats-vlad.h5"),
        ("hloc:netvlad", "global-feats-netvlad.h5"),
        ("../../elsewhere/x", "global-feats-..-..-elsewhere-x.h5"),
    ],
)
def test_a_name_makes_a_file_name_as_hloc_s(descriptor, file):
    assert global_file_name(descriptor) == file
