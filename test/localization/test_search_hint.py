"""A heading tells the two ends of a symmetrical place apart, a text two rooms that look the same."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_worlds import AWAY, PreparedTogether, Twins
from synthetic_map import FakeExtractor

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine, HeadingHint, PositionHint, SearchHint
from visloc_ros.localization.strategies.landmarks import opening
from visloc_ros.localization.strategies.landmarks.landmark_reach import LandmarkReach
from visloc_ros.localization.strategies.landmarks.text_likelihood import TEXTS_NAME, TextSample, learn_texts

MATCHER = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))
HALF_TURN = SE3(rotation_matrix([0.0, 0.0, np.pi]), np.zeros(3))
LENGTH = 384
SIGN_HERE, SIGN_THERE, STRANGE = np.random.default_rng(0).normal(size=(3, LENGTH))


def levelled(map_):
    return replace(map_, manifest=replace(map_.manifest, gravity_aligned=True))


def engine_for(prepared, search, monkeypatch):
    monkeypatch.setattr(opening, "load_recogniser", lambda *_: prepared)
    return AnchorEngine(prepared.maps[0], AnchorConfig(search=search), FakeExtractor(None), MATCHER)


def heading_of(pose):
    axis = pose.rotation[:, 2]
    return float(np.arctan2(axis[1], axis[0]))


def is_right(answer, pose):
    return (
        isinstance(answer, AnchorPose) and np.linalg.norm(answer.map_from_camera.translation - pose.translation) < 0.1
    )


def near(image):
    """A pose near that of a map image."""
    turn, step = rotation_matrix([0.03, -0.04, 0.05]), np.array([0.1, -0.05, 0.08])
    return SE3(image.map_from_camera.rotation @ turn, image.map_from_camera.translation + step)


@pytest.fixture(scope="module")
def two_ends():
    world = Twins(second_from_first=HALF_TURN)
    world.map = levelled(world.map)
    return world


@pytest.fixture(scope="module")
def prepared_ends(two_ends, tmp_path_factory):
    return PreparedTogether([two_ends.map], tmp_path_factory.mktemp("landmarks"))


def views_of_ends(world):
    """Poses in both ends, and whether it is the second one."""
    half = len(world.map.images) // 2
    return [(near(image), row >= half) for row, image in enumerate(world.map.images)]


def test_a_position_does_not_tell_two_ends_of_a_place_apart(two_ends, prepared_ends, monkeypatch):
    engine = engine_for(prepared_ends, "landmarks", monkeypatch)
    answers = []
    for pose, second in views_of_ends(two_ends)[::3]:
        hint = SearchHint(PositionHint(pose.translation, 30.0))
        answers.append(engine.localize(two_ends.frame(), features=two_ends.view(pose, second), hint=hint))
    refused = [answer.reason for answer in answers if isinstance(answer, Rejection)]
    assert len(refused) > len(answers) / 2
    assert set(refused) == {Reason.AMBIGUOUS_PLACE}


@pytest.mark.parametrize("search", ["landmarks", "retrieval"])
def test_a_heading_does(two_ends, prepared_ends, monkeypatch, search):
    engine = engine_for(prepared_ends, search, monkeypatch)
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
def test_where_nobody_knows_up_neither_heading_nor_height_can_be_left_open(prepared_twins, twins, monkeypatch, hint):
    engine = engine_for(prepared_twins, "landmarks", monkeypatch)
    with pytest.raises(MapError, match="which way is up"):
        engine.localize(twins.frame(), features=twins.view(near(twins.map.images[0])), hint=hint)


def test_a_position_without_a_height_is_compared_from_above():
    hint = PositionHint(np.array([1.0, 2.0]), 1.0)
    assert hint.sigmas(SE3(np.eye(3), np.array([1.0, 5.0, 80.0]))) == pytest.approx(3.0)


@pytest.fixture(scope="module")
def twins():
    return Twins()


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


def test_a_text_tells_two_rooms_apart_that_look_the_same(twins, prepared_twins, monkeypatch):
    engine = engine_for(prepared_twins, "landmarks", monkeypatch)
    rng = np.random.default_rng(7)
    for image in twins.map.images[::3]:
        pose = near(image)
        features, there = twins.view(pose), bool(pose.translation[0] > AWAY[0] / 2)
        sign = SIGN_THERE if there else SIGN_HERE
        read = SearchHint(text=sign + 0.3 * rng.normal(size=LENGTH))
        assert is_right(engine.localize(twins.frame(), features=features, hint=read), pose)
        strange = engine.localize(twins.frame(), features=features, hint=SearchHint(text=STRANGE))
        assert isinstance(strange, Rejection)
        assert strange.reason is Reason.AMBIGUOUS_PLACE
        wrong = SearchHint(PositionHint(pose.translation, 3.0), text=SIGN_HERE if there else SIGN_THERE)
        answer = engine.localize(twins.frame(), features=features, hint=wrong)
        assert is_right(answer, pose) or isinstance(answer, Rejection)


def test_a_text_where_nobody_learned_any_is_refused(twins, prepared_ends, two_ends, monkeypatch):
    features = two_ends.view(near(two_ends.map.images[0]))
    for search, error in (("landmarks", MapError), ("retrieval", ConfigError)):
        engine = engine_for(prepared_ends, search, monkeypatch)
        with pytest.raises(error, match="leave"):
            engine.localize(two_ends.frame(), features=features, hint=SearchHint(text=STRANGE))


@pytest.mark.parametrize("text", [np.zeros(4), np.ones((2, 2)), np.array([1.0, np.nan])])
def test_what_is_no_embedding_is_refused(text):
    with pytest.raises(ConfigError, match="embedding"):
        SearchHint(text=text)
