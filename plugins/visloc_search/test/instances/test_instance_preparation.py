"""Preparing a real, small map: instances, a network that recognises them, and what interrupts or spoils it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from visloc_ros.apps.command_view import labelled_maps
from visloc_ros.core.errors import ConfigError, MapError, ModelError
from visloc_ros.core.map import open_map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.localization.strategy import Examples
from visloc_search.instances.backends.network import InstanceNetwork, load_backbone
from visloc_search.instances.backends.recogniser import load_network
from visloc_search.instances.config import (
    INSTANCES,
    InstanceConfig,
    TrainingConfig,
)
from visloc_search.instances.labelled_map import label_map
from visloc_search.instances.opening import open_instances
from visloc_search.instances.preparation import prepare_instances
from visloc_search.instances.strategy import INSTANCE_SEARCH
from visloc_search.instances.training_scores import point_accuracy

DEMO_MAP = Path(__file__).parents[4] / "maps" / "demo_room.tar.gz"
SHORT = InstanceConfig(num_instances=6, training=TrainingConfig(samples_per_image=20, device="cpu"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The demo's map, prepared in seconds, and its figures."""
    path = tmp_path_factory.mktemp("maps") / DEMO_MAP.name
    shutil.copy(DEMO_MAP, path)
    return path, prepare_instances(path, SHORT)


def test_the_map_says_what_it_holds(prepared):
    path, figures = prepared
    assert open_map(path).manifest.prepared[INSTANCES] == figures
    assert figures["instances"] == 6
    assert figures["points_percent"] > 95.0
    assert figures["consistent_percent"] >= 90.0
    assert not list(path.parent.glob(".*"))  # the checkpoint of the training is gone


def test_the_recogniser_knows_the_instances_of_images_that_it_has_not_learned(prepared):
    path, figures = prepared
    assert figures["held_out_percent"] > 50.0  # one of six by chance: 17; minutes of training give 90
    place = open_map(path)
    instances, recogniser = open_instances(place, "cpu")
    labelled = label_map(place, SHORT, SilentProgress())
    np.testing.assert_array_equal(labelled.point_labels, instances.point_labels)
    masks = [recogniser.recognise(one.picture).mask for one in labelled.masked]
    assert point_accuracy(labelled.images, masks, instances.point_labels) > 0.5
    dark = [
        recogniser.recognise((one.picture.astype(float) ** 1.8 / 255**0.8).astype(np.uint8)) for one in labelled.masked
    ]
    assert point_accuracy(labelled.images, [one.mask for one in dark], instances.point_labels) > 0.45


class Interrupted(Exception):
    """Someone pressed Ctrl-C."""


class InterruptingProgress(SilentProgress):
    """Ends the training in the middle."""

    def __init__(self):
        self.percent = 0

    def stage(self, name, total):
        self.percent = 0 if name == "training" else -(10**6)

    def advance(self, count=1):
        self.percent += count
        if self.percent >= 50:
            raise Interrupted


def test_an_interrupted_training_leaves_the_map_and_ends_with_the_same_network(tmp_path):
    config = replace(SHORT, training=replace(SHORT.training, samples_per_image=1))
    whole, cut = tmp_path / "whole.tar.gz", tmp_path / "cut.tar.gz"
    for path in (whole, cut):
        shutil.copy(DEMO_MAP, path)
    prepare_instances(whole, config)
    with pytest.raises(Interrupted):
        prepare_instances(cut, config, InterruptingProgress())
    assert cut.read_bytes() == DEMO_MAP.read_bytes()
    assert (tmp_path / f".{cut.name}.{INSTANCES}").is_dir()
    prepare_instances(cut, config)
    files = [open_map(path).prepared[INSTANCES] for path in (whole, cut)]
    for name in files[0]:
        if name != "recogniser.pt":
            assert files[0][name] == files[1][name], name
    states = [load_network(one["recogniser.pt"], 7).state_dict() for one in files]
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], msg=name)


def test_what_does_not_go_together_is_refused_before_anything_is_done(tmp_path):
    path = tmp_path / DEMO_MAP.name
    shutil.copy(DEMO_MAP, path)
    with pytest.raises(ConfigError, match="--source and --texts"):
        INSTANCE_SEARCH.prepare([path], SHORT, SilentProgress(), Examples(texts=tmp_path / "texts.npz"))
    bare = replace(open_map(path), thumbnails={})
    with pytest.raises(MapError, match="no thumbnails"):
        label_map(bare, SHORT, SilentProgress())
    with pytest.raises(MapError, match="visloc prepare MAP --for instances"):
        open_instances(open_map(path))
    with pytest.raises(MapError, match="needs the whole map"):
        INSTANCE_SEARCH.prepared_map(open_map(path))


def test_weights_for_the_backbone_are_those_of_torchvision(tmp_path):
    from torchvision.models import mobilenet_v3_small

    network, given = InstanceNetwork(9), mobilenet_v3_small(weights=None)
    torch.save(given.state_dict(), tmp_path / "weights.pth")
    load_backbone(network, tmp_path / "weights.pth")
    torch.testing.assert_close(network.stages[0][0][0].weight, given.features[0][0].weight)
    torch.testing.assert_close(network.stages[3][2].block[0][0].weight, given.features[11].block[0][0].weight)
    torch.save({"features.0.0.weight": torch.ones(1)}, tmp_path / "other.pth")
    (tmp_path / "empty.pth").touch()
    for name in ("other.pth", "empty.pth", "missing.pth"):
        with pytest.raises(ModelError, match="mobilenet_v3_small"):
            load_backbone(network, tmp_path / name)


def test_all_points_are_shown_with_their_instances(instance_room):
    place = open_map(instance_room)
    labelled = labelled_maps(place)[INSTANCES]
    assert np.array_equal(labelled.points, place.points)
    assert len(np.unique(labelled.point_labels)) >= place.manifest.prepared[INSTANCES]["instances"]
