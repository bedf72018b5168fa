"""Several maps at once: the right one is told, and never another, on exactly known maps."""

import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, World, near_image
from twin_places import named

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization import AnchorConfig, PositionHint, SearchHint
from visloc_ros.localization.multi_map import MultiMapEngine

NAMES = ("office", "hall", "cellar")


@pytest.fixture(scope="module")
def worlds():
    return [World(seed) for seed in range(len(NAMES))]


@pytest.fixture(scope="module")
def maps(worlds):
    return [named(world.map, name) for world, name in zip(worlds, NAMES, strict=True)]


def engine_of(maps):
    return MultiMapEngine(maps, AnchorConfig(), FakeExtractor(None), MATCHER)


def look(engine, world, row=2, hint=None, outliers=0.0):
    """The answer to a view near that of a map image."""
    return engine.localize(world.frame(), world.view(near_image(world, row), outliers=outliers), hint)


def assert_found(anchor, name, pose):
    assert isinstance(anchor.result, AnchorPose)
    assert anchor.map.name == name
    assert np.linalg.norm(anchor.result.map_from_camera.translation - pose.translation) < 0.05


def test_the_map_and_the_pose_in_it_are_reported(worlds, maps):
    engine = engine_of(maps)
    for world, name in zip(worlds, NAMES, strict=True):
        for row in range(4):
            anchor = look(engine, world, row, outliers=0.2)
            assert_found(anchor, name, near_image(world, row))


def test_a_place_that_two_maps_show_is_ambiguous(worlds, maps):
    engine = engine_of([*maps[:2], named(maps[0], "twin")])
    anchor = look(engine, worlds[0])
    assert anchor.result.reason is Reason.AMBIGUOUS_PLACE
    assert anchor.result.counts["inliers"] > 30
    assert_found(look(engine, worlds[1]), "hall", near_image(worlds[1]))


def test_an_image_of_elsewhere_is_rejected(maps):
    other, engine = World(9), engine_of(maps)
    anchor = look(engine, other)
    assert isinstance(anchor.result, Rejection)
    assert anchor.map.name in NAMES


@pytest.mark.parametrize(("rows", "complaint"), [([], "at least one map"), ([0, 1, 0], "two maps are called 'office'")])
def test_maps_must_have_different_names(maps, rows, complaint):
    with pytest.raises(ConfigError, match=complaint):
        engine_of([maps[row] for row in rows])


def test_a_position_is_of_one_map(worlds, maps):
    engine = engine_of(maps)
    with pytest.raises(ConfigError, match="of one map"):
        engine.localize(
            worlds[0].frame(), worlds[0].view(near_image(worlds[0])), SearchHint(PositionHint(np.zeros(3), 1.0))
        )
