"""Searched by landmarks: hints tell two rooms apart that look the same, and the two ends of a symmetrical place."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_worlds import PreparedTogether
from synthetic_map import MATCHER, FakeExtractor, is_right, near_image
from twin_places import AWAY, FAR, HALF_TURN, Twins, at, heading_of, levelled, localize, moved, poses, views_of_ends

from visloc_ros.core.errors import MapError
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine, HeadingHint, PositionHint, SearchHint
from visloc_search.landmarks import opening
from visloc_search.landmarks.landmark_reach import LandmarkReach
from visloc_search.landmarks.text_likelihood import TEXTS_NAME, TextSample, learn_texts

LENGTH = 384
SIGN_HERE, SIGN_THERE, STRANGE = np.random.default_rng(0).normal(size=(3, LENGTH))


def engine_for(prepared, monkeypatch):
    monkeypatch.setattr(opening, "load_recogniser", lambda *_: prepared)
    return AnchorEngine(prepared.maps[0], AnchorConfig(search="landmarks"), FakeExtractor(None), MATCHER)


@pytest.fixture(scope="module")
def twins():
    return Twins()


@pytest.fixture(scope="module")
def prepared(twins, tmp_path_factory):
    return PreparedTogether([twins.map], tmp_path_factory.mktemp("landmarks"))


@pytest.fixture
def engine(prepared, monkeypatch):
    return engine_for(prepared, monkeypatch)


def test_without_a_hint_no_twin_is_taken_for_the_other(engine, twins):
    """Retrieval takes one for the other where all images that look most alike are of one of them."""
    for pose in poses(twins):
        answer = localize(engine, twins, pose)
        assert isinstance(answer, Rejection) or is_right(answer, pose)
        assert isinstance(answer, AnchorPose) or answer.reason is Reason.AMBIGUOUS_PLACE


@pytest.mark.parametrize("sigma_m", [1.0, 10.0])
def test_with_a_hint_both_twins_are_found(engine, twins, sigma_m):
    rng = np.random.default_rng(0)
    for pose in poses(twins):
        hint = at(pose.translation + sigma_m * rng.uniform(-0.5, 0.5, 3), sigma_m)
        assert is_right(localize(engine, twins, pose, hint), pose)


def test_a_vague_hint_decides_nothing(engine, twins):
    for pose in poses(twins):
        answer = localize(engine, twins, pose, at(pose.translation, 100.0))
        assert isinstance(answer, Rejection) or is_right(answer, pose)


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


def test_a_landmark_is_weighed_by_the_distance_from_its_points(prepared):
    reach = LandmarkReach(prepared.landmarks[0])
    even = np.full((1, prepared.num_classes), 1.0 / prepared.num_classes, np.float32)
    weighed = reach.weigh(even, at(reach.centres[0], 3.0))[0]
    assert weighed.sum() == pytest.approx(1.0)
    assert weighed[1:].argmax() == 0
    away = np.linalg.norm(reach.centres - reach.centres[0], axis=1) > AWAY[0] / 2
    assert away.any()
    assert (weighed[1:][away] < 1e-6).all()
    assert weighed[0] >= weighed[1]
    nowhere = reach.weigh(even, at(reach.centres[0] + FAR, 3.0))[0]
    assert nowhere[0] == pytest.approx(1.0)


@pytest.fixture(scope="module")
def two_ends():
    world = Twins(second_from_first=HALF_TURN)
    world.map = levelled(world.map)
    return world


@pytest.fixture(scope="module")
def prepared_ends(two_ends, tmp_path_factory):
    return PreparedTogether([two_ends.map], tmp_path_factory.mktemp("landmarks"))


def test_a_position_does_not_distinguish_two_ends_of_a_place(two_ends, prepared_ends, monkeypatch):
    engine = engine_for(prepared_ends, monkeypatch)
    answers = []
    for pose, second in views_of_ends(two_ends)[::3]:
        hint = SearchHint(PositionHint(pose.translation, 30.0))
        answers.append(engine.localize(two_ends.frame(), features=two_ends.view(pose, second), hint=hint))
    refused = [answer.reason for answer in answers if isinstance(answer, Rejection)]
    assert len(refused) > len(answers) / 2
    assert set(refused) == {Reason.AMBIGUOUS_PLACE}


def test_a_heading_does(two_ends, prepared_ends, monkeypatch):
    engine = engine_for(prepared_ends, monkeypatch)
    rng = np.random.default_rng(7)
    for pose, second in views_of_ends(two_ends)[::3]:
        hint = SearchHint(heading=HeadingHint(heading_of(pose) + rng.normal(0.0, 0.2), 0.3))
        assert is_right(engine.localize(two_ends.frame(), features=two_ends.view(pose, second), hint=hint), pose)


def test_a_landmark_is_weighed_by_the_frame_that_looks_most_like_the_heading(prepared_ends):
    landmarks = prepared_ends.landmarks[0]
    images = [image for image in landmarks.map.images if (landmarks.labels[image.point_rows] == 1).any()]
    axes = np.array([image.map_from_camera.rotation[:, 2] for image in images])
    even = np.full((1, prepared_ends.num_classes), 1.0 / prepared_ends.num_classes, np.float32)
    for heading in (0.0, 2.0, 4.0):
        hint = HeadingHint(heading, 0.1)
        weighed = LandmarkReach(landmarks).weigh(even, SearchHint(heading=hint))[0]
        assert weighed[1] / weighed[0] == pytest.approx(hint.likelihoods(axes).max(), rel=1e-3)


@pytest.fixture(scope="module")
def prepared_twins(twins, tmp_path_factory):
    """A sign in each of both rooms, which half of the images show."""
    prepared = PreparedTogether([twins.map], tmp_path_factory.mktemp("landmarks"))
    folder, landmarks = tmp_path_factory.mktemp("texts"), prepared.landmarks[0]
    learn_texts(list(samples(twins.map, landmarks))).save(folder)
    files = {**prepared.maps[0].prepared["landmarks"], TEXTS_NAME: (folder / TEXTS_NAME).read_bytes()}
    prepared.maps[0] = replace(prepared.maps[0], prepared={"landmarks": files})
    return prepared


def samples(map_, landmarks):
    middle = map_.points[:, 0] > AWAY[0] / 2
    labels = np.zeros(len(map_.points), np.int64)
    for row, point in enumerate(map_.points):  # the reduced map has fewer points, in the same places
        distances = np.linalg.norm(landmarks.map.points - point, axis=1)
        labels[row] = landmarks.labels[distances.argmin()]
    for row, image in enumerate(map_.images):
        seen = image.point_rows[image.point_rows >= 0]
        sign = SIGN_THERE if middle[seen].mean() > 0.5 else SIGN_HERE
        counts = np.bincount(labels[seen], minlength=landmarks.num_landmarks + 1)[1:]
        yield TextSample(counts, sign / np.linalg.norm(sign) if row % 2 else None)


def test_a_text_distinguishes_two_rooms_that_look_the_same(twins, prepared_twins, monkeypatch):
    engine = engine_for(prepared_twins, monkeypatch)
    rng = np.random.default_rng(7)
    for row in range(0, len(twins.map.images), 3):
        pose = near_image(twins, row)
        features, there = twins.view(pose), bool(pose.translation[0] > AWAY[0] / 2)
        sign = SIGN_THERE if there else SIGN_HERE
        read = SearchHint(text=sign + 0.3 * rng.normal(size=LENGTH))
        assert is_right(engine.localize(twins.frame(), features=features, hint=read), pose)
        strange = engine.localize(twins.frame(), features=features, hint=SearchHint(text=STRANGE))
        assert strange.reason is Reason.AMBIGUOUS_PLACE
        wrong = SearchHint(PositionHint(pose.translation, 3.0), text=SIGN_HERE if there else SIGN_THERE)
        answer = engine.localize(twins.frame(), features=features, hint=wrong)
        assert is_right(answer, pose) or isinstance(answer, Rejection)


def test_a_text_where_nobody_learned_any_is_refused(prepared_ends, two_ends, monkeypatch):
    engine, features = engine_for(prepared_ends, monkeypatch), two_ends.view(near_image(two_ends, 0))
    with pytest.raises(MapError, match="leave"):
        engine.localize(two_ends.frame(), features=features, hint=SearchHint(text=STRANGE))
