"""LightGlue for extractors whose published weights are in no package, with random weights against the original."""

import numpy as np
import pytest
import torch
from made_features import as_inputs

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import MatcherConfig, make_matcher

EXHAUSTIVE = {"precision": "float32", "depth_confidence": 1.0, "width_confidence": 1.0, "filter_threshold": 0.0}
FAMILIES = {"sift": (128, True), "superpoint": (256, False)}


def random_features(seed, length, has_shapes, count=80):
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, length)).astype(np.float32)
    return LocalFeatures(
        rng.uniform(0, [640, 480], (count, 2)).astype(np.float32),
        rng.uniform(size=count).astype(np.float32),
        descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
        (640, 480),
        rng.uniform([2, 0], [40, 2 * np.pi], (count, 2)).astype(np.float32) if has_shapes else None,
    )


@pytest.fixture
def random_weights(original, tmp_path):
    """A network of the original with random weights, and the file that holds them."""

    def make(family):
        length, has_shapes = FAMILIES[family]
        torch.manual_seed(0)
        options = {"input_dim": length, "add_scale_ori": has_shapes, "depth_confidence": -1, "width_confidence": -1}
        network = original.LightGlue(features=None, filter_threshold=0.0, **options).eval()
        state = {name: value for name, value in network.state_dict().items() if name != "confidence_thresholds"}
        torch.save(state, tmp_path / f"{family}_lightglue.pth")
        return network, str(tmp_path / f"{family}_lightglue.pth")

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_matches_are_those_of_the_original(random_weights, family):
    network, path = random_weights(family)
    a, b = (random_features(seed, *FAMILIES[family]) for seed in (1, 2))
    with torch.inference_mode():
        expected = network({"image0": as_inputs(a), "image1": as_inputs(b)})
    found = make_matcher(MatcherConfig(weights=path, **EXHAUSTIVE), family).match(a, b)
    assert len(found) > 5
    assert set(map(tuple, found.pairs.tolist())) == set(map(tuple, expected["matches"][0].tolist()))


def test_the_same_weights_serve_the_features_that_hloc_makes(random_weights):
    _, path = random_weights("superpoint")
    matcher = make_matcher(MatcherConfig(weights=path), "hloc:superpoint_aachen")
    assert matcher.info.name == "lightglue-superpoint"


def test_features_without_sizes_are_refused(random_weights):
    matcher = make_matcher(MatcherConfig(weights=random_weights("sift")[1]), "sift")
    with pytest.raises(ModelError, match="needs the sizes and angles"):
        matcher.match(random_features(1, 128, has_shapes=False), random_features(2, 128, has_shapes=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_absent_weights_name_the_command_that_fetches_them(monkeypatch, tmp_path, family):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=f"run 'visloc fetch-weights {family}-lightglue'"):
        make_matcher(extractor=family)
