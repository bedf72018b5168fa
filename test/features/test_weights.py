import re

import pytest
import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pth does not exist"):
        make_extractor(FeatureConfig(weights=str(tmp_path / "none.pth")))


def test_absent_weights_say_where_was_looked_and_which_command_fetches_them(monkeypatch, tmp_path):
    from visloc_ros.features.backends import weights

    monkeypatch.setattr(weights, "_package_folders", list)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=r"aliked-n16 in .*checkpoints: run 'visloc fetch-weights aliked-n16'"):
        make_extractor()


def test_weights_in_the_torch_cache_are_found(monkeypatch, tmp_path):
    from visloc_ros.features.backends import weights

    cached = tmp_path / "checkpoints" / "aliked-n16.pth"
    cached.parent.mkdir()
    cached.write_bytes(weights.find_weights("", ("aliked-n16",)).read_bytes())
    expected = make_extractor().info
    monkeypatch.setattr(weights, "_package_folders", list)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert weights.find_weights("", ("aliked-n16",)) == cached
    assert make_extractor().info == expected


def test_a_truncated_file_is_refused(tmp_path):
    from visloc_ros.features.backends.weights import find_weights

    whole = find_weights("", ("aliked-n16",)).read_bytes()
    path = tmp_path / "aliked.pth"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="does not hold the weights of AlikedNetwork"):
        make_extractor(FeatureConfig(weights=str(path)))


def test_weights_of_another_model_are_refused():
    from visloc_ros.features.backends.weights import find_weights

    with pytest.raises(ModelError, match=r"does not hold the weights of PublishedLightGlue: .*Missing"):
        make_matcher(MatcherConfig(weights=str(find_weights("", ("aliked-n16",)))))


def test_weights_in_the_layout_of_the_first_release_load(tmp_path):
    from visloc_ros.features.backends.weights import find_weights

    state = torch.load(find_weights("", ("aliked_lightglue",)), weights_only=True)
    old = {re.sub(r"^transformers\.(\d+)\.(self|cross)_attn", r"\2_attn.\1", name): state[name] for name in state}
    assert old.keys() != state.keys()
    path = tmp_path / "old.pth"
    torch.save(old, path)
    matchers = [make_matcher(MatcherConfig(weights=weights)) for weights in ("", str(path))]
    first, second = (matcher.network.state_dict() for matcher in matchers)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_pickle_with_code_is_not_run(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"block1.conv1.weight": print}, path)
    with pytest.raises(ModelError, match="does not hold"):
        make_extractor(FeatureConfig(weights=str(path)))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="torch sees no GPU"):
        make_extractor(FeatureConfig(device="cuda"))


def test_a_matcher_for_an_extractor_without_weights_is_refused():
    with pytest.raises(ModelError, match="no LightGlue weights for 'orb'"):
        make_matcher(extractor="orb")
