import importlib.util

import pytest

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.features import (
    FeatureConfig,
    MatcherConfig,
    make_extractor,
    make_matcher,
)


def test_an_unknown_extractor_is_named_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r"unknown extractor 'surf'; known: aliked-n16, .*, disk, sift, .*and hloc:CONF"
    ):
        make_extractor(FeatureConfig(name="surf"))


def test_an_unknown_matcher_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown matcher 'superglue'; known: lightglue, nearest"):
        make_matcher(MatcherConfig(name="superglue"))


@pytest.mark.parametrize(("make", "package"), [(make_extractor, "torch"), (make_matcher, "torch")])
def test_a_missing_package_says_what_to_install(monkeypatch, make, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(ModelError, match=f"pip install {package}"):
        make()
