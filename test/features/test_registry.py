import importlib.util
import re

import pytest

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.features import (
    FeatureConfig,
    GlobalConfig,
    MatcherConfig,
    make_extractor,
    make_global_descriptor,
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


@pytest.mark.parametrize(
    ("make", "package", "source"),
    [
        (make_extractor, "torch", "torch"),
        (make_matcher, "torch", "torch"),
        (lambda: make_extractor(FeatureConfig(name="superpoint")), "lightglue", "git+https://github.com/cvg/LightGlue"),
        (lambda: make_extractor(FeatureConfig(name="xfeat")), "kornia", "kornia"),
        (lambda: make_matcher(extractor="xfeat"), "kornia", "kornia"),
        (
            lambda: make_extractor(FeatureConfig(name="hloc:r2d2")),
            "hloc",
            "git+https://github.com/cvg/Hierarchical-Localization",
        ),
        (lambda: make_matcher(MatcherConfig(name="hloc:superglue")), "hloc", "git+https://"),
        (lambda: make_global_descriptor(GlobalConfig(name="hloc:netvlad")), "hloc", "git+https://"),
        (lambda: make_global_descriptor(GlobalConfig(name="megaloc")), "torchvision", "torchvision"),
    ],
)
def test_a_missing_package_says_where_it_comes_from(monkeypatch, make, package, source):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(ModelError, match=re.escape(f"needs {package}: pip install {source}")):
        make()


def test_an_unknown_global_descriptor_is_named_with_the_known_ones():
    with pytest.raises(
        ConfigError, match="unknown global descriptor 'bow'; known: vlad, netvlad, eigenplaces, megaloc"
    ):
        make_global_descriptor(GlobalConfig(name="bow"))


@pytest.mark.parametrize("name", ["auto", "vlad"])
def test_vlad_is_not_made_without_a_map(name):
    with pytest.raises(ConfigError, match="VLAD is trained with a map"):
        make_global_descriptor(GlobalConfig(name=name))


def test_weights_of_a_package_cannot_be_replaced():
    with pytest.raises(ConfigError, match="leave the option 'weights' empty"):
        make_global_descriptor(GlobalConfig(name="megaloc", weights="mine.pt"))
