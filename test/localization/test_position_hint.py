"""A position that is roughly known: what it says of a pose, and how it tells two places apart that look the same."""

import numpy as np
import pytest
from landmark_worlds import AWAY, PreparedTogether, Twins, moved
from synthetic_map import FakeExtractor

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.position_hint import PositionHint
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.strategies.landmarks import opening
from visloc_ros.localization.strategies.landmarks.landmark_reach import LandmarkReach

MATCHER = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))
FAR = np.array([0.0, 400.0, 0.0])


@pytest.fixture(scope="module")
def twins():
    return Twins()


@pytest.fixture(scope="module")
def prepared(twins, tmp_path_factory):
    return PreparedTogether([twins.map], tmp_path_factory.mktemp("landmarks"))


@pytest.fixture(params=["landmarks", "retrieval"])
def engine(request, prepared, monkeypatch):
    return engine_for(prepared, request.param, monkeypatch)


@pytest.fixture
def by_landmarks(prepared, monkeypatch):
    return engine_for(prepared, "landmarks", monkeypatch)


def engine_for(prepared, search, monkeypatch):
    monkeypatch.setattr(opening, "load_recogniser", lambda *_: prepared)
    return AnchorEngine(prepared.maps[0], AnchorConfig(search=search), FakeExtractor(None), MATCHER)


def poses(twins):
    """Poses near those of the map's images, in both places."""
    turn, step = rotation_matrix([0.03, -0.04, 0.05]), np.array([0.1, -0.05, 0.08])
    for image in twins.map.images:
        yield SE3(image.map_from_camera.rotation @ turn, image.map_from_camera.translation + step)


def near(position, sigma_m):
    return SearchHint(PositionHint(position, sigma_m))


def localize(engine, twins, pose, hint=None):
    return engine.localize(twins.frame(), features=twins.view(pose), hint=hint)


def is_right(answer, pose):
    return (
        isinstance(answer, AnchorPose) and np.linalg.norm(answer.map_from_camera.translation - pose.translation) < 0.1
    )


def test_without_a_hint_no_twin_is_taken_for_the_other(by_landmarks, twins):
    """Retrieval takes one for the other where all images that look most alike are of one of them."""
    for pose in poses(twins):
        answer = localize(by_landmarks, twins, pose)
        assert isinstance(answer, Rejection) or is_right(answer, pose)
        assert isinstance(answer, AnchorPose) or answer.reason is Reason.AMBIGUOUS_PLACE


@pytest.mark.parametrize("sigma_m", [1.0, 10.0])
def test_with_a_hint_both_twins_are_found(engine, twins, sigma_m):
    rng = np.random.default_rng(0)
    for pose in poses(twins):
        hint = near(pose.translation + rng.normal(0.0, sigma_m / 2, 3), sigma_m)
        assert is_right(localize(engine, twins, pose, hint), pose)


def test_a_vague_hint_tells_nothing(by_landmarks, twins):
    for pose in poses(twins):
        answer = localize(by_landmarks, twins, pose, near(pose.translation, 100.0))
        assert isinstance(answer, Rejection) or is_right(answer, pose)


def test_a_hint_of_the_other_twin_does_not_get_a_pose_of_this_one(engine, twins):
    """Which of both is right cannot be told: a pose is at least near the hint."""
    for pose in poses(twins):
        other = moved(pose, -AWAY if pose.translation[0] > AWAY[0] / 2 else AWAY)
        answer = localize(engine, twins, pose, near(other.translation, 3.0))
        assert isinstance(answer, Rejection) or is_right(answer, other)


def test_a_hint_that_is_far_off_refuses(engine, twins):
    for pose in poses(twins):
        answer = localize(engine, twins, pose, near(pose.translation + FAR, 10.0))
        assert isinstance(answer, Rejection)


def test_a_prediction_does_not_get_around_the_hint(engine, twins):
    pose = next(poses(twins))
    features = twins.view(pose)
    hint = near(pose.translation + FAR, 10.0)
    assert isinstance(engine.localize(twins.frame(), pose, features, hint), Rejection)
    assert is_right(engine.localize(twins.frame(), pose, features, near(pose.translation, 10.0)), pose)


def test_a_landmark_is_weighed_by_the_distance_from_its_points(prepared):
    reach = LandmarkReach(prepared.landmarks[0])
    even = np.full((1, prepared.num_classes), 1.0 / prepared.num_classes, np.float32)
    weighed = reach.weigh(even, near(reach.centres[0], 3.0))[0]
    assert weighed.sum() == pytest.approx(1.0)
    assert weighed[1:].argmax() == 0
    away = np.linalg.norm(reach.centres - reach.centres[0], axis=1) > AWAY[0] / 2
    assert away.any()
    assert (weighed[1:][away] < 1e-6).all()
    assert weighed[0] >= weighed[1]
    nowhere = reach.weigh(even, near(reach.centres[0] + FAR, 3.0))[0]
    assert nowhere[0] == pytest.approx(1.0)


def test_a_wider_spread_is_surprised_less():
    hint = PositionHint(np.zeros(3), 10.0)
    positions = np.array([[30.0, 0.0, 0.0], [30.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    near, far, here = hint.likelihoods(positions, np.array([0.0, 30.0, 0.0]))
    assert near == pytest.approx(np.exp(-4.5))
    assert near < far < here == 1.0
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
