"""A position tells two rooms apart that look the same, a heading the two ends of a symmetrical place."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, is_right, near_image
from twin_places import AWAY, FAR, HALF_TURN, Twins, at, heading_of, levelled, localize, moved, poses, views_of_ends

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine, HeadingHint, PositionHint, SearchHint


def engine_for(world):
    return AnchorEngine(world.map, AnchorConfig(), FakeExtractor(None), MATCHER)


@pytest.fixture(scope="module")
def twins():
    return Twins()


@pytest.fixture(scope="module")
def engine(twins):
    return engine_for(twins)


@pytest.mark.parametrize("sigma_m", [1.0, 10.0])
def test_with_a_hint_both_twins_are_found(engine, twins, sigma_m):
    rng = np.random.default_rng(0)
    for pose in poses(twins):
        hint = at(pose.translation + sigma_m * rng.uniform(-0.5, 0.5, 3), sigma_m)
        assert is_right(localize(engine, twins, pose, hint), pose)


def test_a_hint_of_the_other_twin_does_not_get_a_pose_of_this_one(engine, twins):
    """Which of both is right cannot be told: a pose is at least near the hint."""
    for pose in poses(twins):
        other = moved(pose, -AWAY if pose.translation[0] > AWAY[0] / 2 else AWAY)
        answer = localize(engine, twins, pose, at(other.translation, 3.0))
        assert isinstance(answer, Rejection) or is_right(answer, other)


def test_a_hint_that_is_far_off_refuses(engine, twins):
    for pose in poses(twins):
        answer = localize(engine, twins, pose, at(pose.translation + FAR, 10.0))
        assert isinstance(answer, Rejection)
        assert answer.reason is Reason.HINT_EXCLUDES_ALL


def test_a_prediction_does_not_get_around_the_hint(engine, twins):
    pose = poses(twins)[0]
    features = twins.view(pose)
    hint = at(pose.translation + FAR, 10.0)
    assert isinstance(engine.localize(twins.frame(), pose, features, hint), Rejection)
    assert is_right(engine.localize(twins.frame(), pose, features, at(pose.translation, 10.0)), pose)


def test_a_wider_spread_is_surprised_less():
    hint = PositionHint(np.zeros(3), 10.0)
    positions = np.array([[30.0, 0.0, 0.0], [30.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    close, far, here = hint.likelihoods(positions, np.array([0.0, 30.0, 0.0]))
    assert close == pytest.approx(np.exp(-4.5))
    assert close < far < here == 1.0
    assert hint.permits(np.array([[39.0, 0.0, 0.0], [41.0, 0.0, 0.0]]), np.zeros(2)).tolist() == [True, False]
    assert hint.rules_out(SE3(np.eye(3), np.array([0.0, 0.0, 41.0])))
    assert not hint.rules_out(SE3(np.eye(3), np.array([0.0, 0.0, 39.0])))


@pytest.mark.parametrize(
    ("position", "sigma_m"),
    [([0.0], 1.0), ([0.0, 0.0, np.nan], 1.0), ([0.0, 0.0, 0.0], 0.0), ([0.0, 0.0, 0.0], np.inf)],
)
def test_what_is_no_position_is_refused(position, sigma_m):
    with pytest.raises(ConfigError, match="hint"):
        PositionHint(np.array(position), sigma_m)


def test_matches_without_a_pose_are_no_other_place(engine, twins):
    """A pose by chance is anywhere: it speaks for no place that the hint rules out."""
    rng = np.random.default_rng(3)
    for pose in poses(twins):
        view = twins.view(pose)
        shuffled = replace(view, keypoints=rng.permutation(view.keypoints))
        answer = engine.localize(twins.frame(), features=shuffled, hint=at(pose.translation, 1.0))
        assert answer.reason is Reason.FEW_INLIERS


@pytest.fixture(scope="module")
def two_ends():
    world = Twins(second_from_first=HALF_TURN)
    world.map = levelled(world.map)
    return world


def test_a_heading_distinguishes_two_ends_of_a_place(two_ends):
    engine, rng = engine_for(two_ends), np.random.default_rng(7)
    for pose, second in views_of_ends(two_ends)[::3]:
        hint = SearchHint(heading=HeadingHint(heading_of(pose) + rng.normal(0.0, 0.2), 0.3))
        assert is_right(engine.localize(two_ends.frame(), features=two_ends.view(pose, second), hint=hint), pose)


def test_headings_go_round():
    hint = HeadingHint(np.pi - 0.1, 0.1)
    east_of_west = SE3(rotation_matrix([0.0, 0.0, -np.pi + 0.1]) @ along_x(), np.zeros(3))
    assert hint.sigmas(east_of_west) == pytest.approx(2.0)
    assert not hint.rules_out(east_of_west)
    assert hint.rules_out(SE3(along_x(), np.zeros(3)))
    assert hint.sigmas(SE3(np.eye(3), np.zeros(3))) == 0.0  # it looks straight up
    assert hint.permits_views(np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])).tolist() == [1, 1, 0]


def along_x():
    """Of a level camera that looks along x: its z axis is the map's x, its y axis points down."""
    return np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@pytest.mark.parametrize(("heading", "sigma"), [(np.nan, 0.1), (0.0, 0.0), (0.0, np.inf)])
def test_what_is_no_heading_is_refused(heading, sigma):
    with pytest.raises(ConfigError, match="heading"):
        HeadingHint(heading, sigma)


@pytest.mark.parametrize(
    "hint", [SearchHint(heading=HeadingHint(0.0, 0.1)), SearchHint(PositionHint(np.zeros(2), 1.0))]
)
def test_where_nobody_knows_up_neither_heading_nor_height_can_be_left_open(engine, twins, hint):
    with pytest.raises(MapError, match="which way is up"):
        engine.localize(twins.frame(), features=twins.view(near_image(twins, 0)), hint=hint)


def test_a_position_without_a_height_is_compared_from_above():
    hint = PositionHint(np.array([1.0, 2.0]), 1.0)
    assert hint.sigmas(SE3(np.eye(3), np.array([1.0, 5.0, 80.0]))) == pytest.approx(3.0)


def test_a_text_is_refused_by_a_search_that_learns_none(engine, twins):
    with pytest.raises(ConfigError, match="leave the text out"):
        localize(engine, twins, near_image(twins, 0), SearchHint(text=np.ones(8)))


@pytest.mark.parametrize("text", [np.zeros(4), np.ones((2, 2)), np.array([1.0, np.nan])])
def test_what_is_no_embedding_is_refused(text):
    with pytest.raises(ConfigError, match="embedding"):
        SearchHint(text=text)
