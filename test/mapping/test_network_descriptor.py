"""A map built with a network's global descriptors says so, and the engine searches it with them."""

from dataclasses import replace

import pytest
from kitchen_map import CONFIG

from visloc_ros.core.errors import ModelError
from visloc_ros.core.map import open_map
from visloc_ros.features import FeatureConfig, GlobalConfig, MatcherConfig
from visloc_ros.localization.strategies.retrieval.global_index import global_index
from visloc_ros.mapping import build_map

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

# A repository as torch.hub keeps it; its descriptor is the image in 64 patches.
HUBCONF = """
import torch

def get_trained_model():
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten())
"""
QUICK = replace(
    CONFIG,
    features=FeatureConfig(name="sift", max_keypoints=400),
    matcher=MatcherConfig(name="nearest", ratio=0.85),
    global_descriptor=GlobalConfig(name="megaloc"),
)


def test_a_map_of_a_network_finds_its_images(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "gmberton_MegaLoc_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(HUBCONF)
    build_map(kitchen, tmp_path / "map", QUICK, reference_poses=kitchen.ground_truth)
    opened = open_map(tmp_path / "map")
    assert {role: model.name for role, model in opened.manifest.models.items()} == {
        "extractor": "sift",
        "matcher": "nearest",
        "global": "megaloc",
    }
    assert (tmp_path / "map" / "global-feats-megaloc.h5").exists()
    assert not (tmp_path / "map" / "vlad.h5").exists()
    describer, vectors = global_index(opened)
    frames = {frame.name: frame for frame in kitchen}
    for row, image in enumerate(opened.images):
        similarity = vectors @ describer.describe(frames[image.name].image, image.features)
        assert similarity.argmax() == row


def test_an_absent_network_is_told_before_any_work(kitchen, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"'megaloc' needs the torch\.hub repository"):
        build_map(kitchen, tmp_path / "map", QUICK, reference_poses=kitchen.ground_truth)
    assert not (tmp_path / "map").exists()
