"""Maps of other places that a recogniser is told of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError
from visloc_ros.localization.strategies.landmarks import preparation
from visloc_ros.localization.strategies.landmarks.clustering import label_points
from visloc_ros.localization.strategies.landmarks.config import LandmarkConfig
from visloc_ros.localization.strategies.landmarks.landmark_map import reduce_map
from visloc_ros.localization.strategies.landmarks.preparation import Scene
from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND

ELSEWHERE = Path("elsewhere")


@pytest.fixture
def scene(hall_map):
    labels = label_points(hall_map, LandmarkConfig())
    return Scene(Path("hall"), hall_map, labels, reduce_map(hall_map, labels, LandmarkConfig()), 0)


def images_of(monkeypatch, scene, models):
    other = replace(scene.map, manifest=replace(scene.map.manifest, models=models))
    monkeypatch.setattr(preparation, "open_map", {ELSEWHERE: other}.__getitem__)
    return list(preparation._images_of_elsewhere([scene], [ELSEWHERE]))


def test_every_keypoint_of_elsewhere_is_background(monkeypatch, scene):
    images = images_of(monkeypatch, scene, scene.map.manifest.models)
    assert len(images) == len(scene.map.images)
    assert all(np.all(image.labels == BACKGROUND) for image in images)


@pytest.mark.parametrize("name", ["sift", None])
def test_features_of_another_extractor_are_refused(monkeypatch, scene, name):
    stated = scene.map.manifest.models["extractor"]
    models = {} if name is None else {"extractor": replace(stated, name=name)}
    with pytest.raises(ConfigError, match=r"elsewhere has features of .*'synthetic'"):
        images_of(monkeypatch, scene, models)
