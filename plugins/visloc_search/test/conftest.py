"""The demo's map, prepared within seconds; no test changes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

DEMO_MAP = Path(__file__).resolve().parents[3] / "maps" / "demo_room.tar.gz"


@pytest.fixture(scope="session")
def landmark_room(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The demo's map, prepared within seconds for the search by landmarks: enough to find images of the room."""
    return made_once("demo_room.tar.gz", prepare_room)


def prepare_room(path: Path) -> None:
    from visloc_search.landmarks.config import NETWORK, TrainingConfig
    from visloc_search.landmarks.preparation import PreparationConfig, prepare_landmarks

    shutil.copy(DEMO_MAP, path)
    training = TrainingConfig(size="nano", max_steps=60, batch=8, warm_up=5, device="cpu")
    prepare_landmarks([path], PreparationConfig(NETWORK, training=training))


@pytest.fixture(scope="session")
def instance_room(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The demo's map with the instances of its points, and a network that has learned nothing of them yet."""
    return made_once("instance_room.tar.gz", divide_room)


def divide_room(path: Path) -> None:
    import torch

    from visloc_ros.core.map import open_map
    from visloc_ros.core.map_preparation import add_prepared
    from visloc_search.instances.backends.network import InstanceNetwork
    from visloc_search.instances.backends.recogniser import NetworkRecogniser, network_bytes
    from visloc_search.instances.config import INSTANCES, InstanceConfig
    from visloc_search.instances.instance_files import save_instances
    from visloc_search.instances.instance_map import InstanceMap
    from visloc_search.instances.label_masks import picture_of
    from visloc_search.instances.point_instances import label_points

    shutil.copy(DEMO_MAP, path)
    place = open_map(path)
    labels = label_points(place, InstanceConfig())
    torch.manual_seed(0)
    network = InstanceNetwork(int(labels.max()) + 1)
    pictures = [picture_of(place, image) for image in place.images]
    found = [NetworkRecogniser(network).recognise(picture) for picture in pictures if picture is not None]
    areas = np.stack([one.areas(int(labels.max()) + 1) for one in found])
    known = InstanceMap(labels, areas, np.stack([one.descriptor for one in found]), -1.0)

    def write(folder: Path) -> dict[str, int]:
        save_instances(folder, known, network_bytes(network), InstanceConfig(), place.manifest)
        return {"instances": known.num_classes - 1}

    add_prepared(path, INSTANCES, place.manifest, write)
