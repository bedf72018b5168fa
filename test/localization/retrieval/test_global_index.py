"""Which global descriptor a map is searched with: its own, VLAD instead, or a refusal that says what to do."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_map import World

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.features import GlobalConfig, Vlad
from visloc_ros.localization.descriptor_index import rank_by_descriptor
from visloc_ros.localization.retrieval.global_index import global_index

# A repository as torch.hub keeps it; its descriptor is the image in sixteen patches.
HUBCONF = """
import torch

class Patches(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([{weight}]))

    def forward(self, image):
        return torch.nn.functional.adaptive_avg_pool2d(image, 4).flatten(1)

def get_trained_model():
    return Patches()
"""
LENGTH = 48


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of torch.hub in which MegaLoc's repository gives a network of our own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    repository = tmp_path / "gmberton_MegaLoc_main"
    repository.mkdir()
    (repository / "hubconf.py").write_text(HUBCONF.format(weight=1.0))
    return tmp_path


def described_by(world, name, length=LENGTH, created_from="test", sha256=""):
    """The world's map with vectors that a network of this name made."""
    vectors = np.random.default_rng(1).normal(size=(len(world.map.images), length)).astype(np.float32)
    models = {**world.map.manifest.models, "global": ModelInfo(name, "MIT", sha256)}
    manifest = replace(world.map.manifest, models=models, created_from=created_from)
    return replace(
        world.map, manifest=manifest, global_descriptors=vectors, vlad_centroids=np.empty((0, 0), np.float32)
    )


def is_indexed_again(map_, index):
    describer, vectors = index
    own = np.stack([describer.describe_features(image.features) for image in map_.images])
    return isinstance(describer, Vlad) and np.array_equal(own, vectors)


@pytest.mark.parametrize("name", ["auto", "vlad"])
def test_the_map_s_codebook_is_used(world, name):
    describer, vectors = global_index(world.map, GlobalConfig(name=name))
    np.testing.assert_array_equal(describer.centroids, world.map.vlad_centroids)
    np.testing.assert_array_equal(vectors, world.map.global_descriptors)


def test_the_map_s_network_is_made(world, hub):
    map_ = described_by(world, "megaloc")
    describer, vectors = global_index(map_)
    image = np.random.default_rng(0).integers(0, 256, (480, 640), np.uint8)
    assert describer.info.name == "megaloc"
    assert describer.describe(image, map_.images[0].features).shape == (LENGTH,)
    np.testing.assert_array_equal(vectors, map_.global_descriptors)


def test_a_network_that_is_not_here_is_refused_with_what_to_do(world, hub):
    with pytest.raises(MapError, match=r"'salad', which cannot be made here: .*torch\.hub.*or set .* to 'vlad'"):
        global_index(described_by(world, "salad"))


def test_vlad_in_place_of_a_network_is_made_of_the_map_s_features(world, caplog):
    caplog.set_level(logging.INFO)
    map_ = described_by(world, "salad")
    assert is_indexed_again(map_, global_index(map_, GlobalConfig(name="vlad")))
    assert "indexed again with VLAD: as asked" in caplog.text


def test_another_descriptor_than_the_map_s_is_refused(world, hub):
    with pytest.raises(
        MapError, match=r"descriptors of 'salad', not 'megaloc': set global_descriptor\.name to 'salad'"
    ):
        global_index(described_by(world, "salad"), GlobalConfig(name="megaloc"))
    with pytest.raises(MapError, match="descriptors of 'vlad', not 'megaloc'"):
        global_index(world.map, GlobalConfig(name="megaloc"))


def test_other_weights_are_refused(world, hub):
    with pytest.raises(MapError, match="other weights of 'megaloc'"):
        global_index(described_by(world, "megaloc", sha256="a" * 64))


def test_vectors_of_another_length_are_refused(world, hub):
    with pytest.raises(MapError, match=rf"descriptors of length 12, 'megaloc' makes {LENGTH}"):
        global_index(described_by(world, "megaloc", length=12))


class TestMapsOfStockHloc:
    def test_without_hloc_the_same_network_of_our_own_is_made(self, world, hub):
        map_ = described_by(world, "hloc:megaloc", created_from="hloc")
        describer, vectors = global_index(map_)
        assert describer.info.name == "megaloc"
        np.testing.assert_array_equal(vectors, map_.global_descriptors)

    def test_without_any_network_the_map_is_indexed_again(self, world, hub, caplog):
        caplog.set_level(logging.INFO)
        map_ = described_by(world, "hloc:netvlad", created_from="hloc")
        assert is_indexed_again(map_, global_index(map_))
        assert "needs hloc" in caplog.text
        assert "visloc fetch-weights netvlad" in caplog.text

    def test_a_network_that_was_asked_for_is_not_replaced(self, world, hub):
        map_ = described_by(world, "hloc:netvlad", created_from="hloc")
        with pytest.raises(MapError, match=r"cannot be made here: .*fetch-weights netvlad.*or set .* to 'vlad'"):
            global_index(map_, GlobalConfig(name="hloc:netvlad"))

    def test_without_global_descriptors_the_map_is_indexed_again(self, world):
        map_ = described_by(world, "hloc:netvlad", created_from="hloc")
        bare = replace(map_, global_descriptors=np.empty((0, 0), np.float32))
        assert is_indexed_again(bare, global_index(bare))


def test_a_map_image_finds_itself_first():
    descriptors = World().map.global_descriptors
    for row, descriptor in enumerate(descriptors):
        assert rank_by_descriptor(descriptor, descriptors, 3)[0] == row


def test_ranking_is_by_dot_product_and_never_longer_than_the_map():
    descriptors = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]], np.float32)
    assert rank_by_descriptor(np.array([1.0, 0.1], np.float32), descriptors, 10) == [0, 2, 1]
    assert rank_by_descriptor(np.array([1.0, 0.1], np.float32), descriptors, 1) == [0]
