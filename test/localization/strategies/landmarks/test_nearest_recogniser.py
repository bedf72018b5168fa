"""Recognition by the nearest map descriptor, and how recognition is scored."""

import numpy as np
import pytest
from token_world import DIM, TokenWorld, unit

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.localization.strategies.landmarks.recogniser import NearestRecogniser
from visloc_ros.localization.strategies.landmarks.recognition_scores import score_recognition


def features(descriptors):
    count = len(descriptors)
    return LocalFeatures(np.zeros((count, 2), np.float32), np.ones(count, np.float32), descriptors, (640, 360))


@pytest.fixture(scope="module")
def world():
    return TokenWorld(points=100)


def test_a_token_is_of_the_landmark_of_the_most_similar_point(world):
    recogniser = NearestRecogniser(world.descriptors, world.labels, 5)
    noisy = unit(world.descriptors + 0.05 * np.random.default_rng(1).normal(size=world.descriptors.shape))
    found = recogniser.recognise(features(noisy))
    assert found.shape == (100, 5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    assert (found.argmax(axis=1) == world.labels).all()


def test_what_is_like_nothing_is_background(world):
    recogniser = NearestRecogniser(world.descriptors, world.labels, 5)
    other = unit(np.random.default_rng(2).normal(size=(50, DIM)))
    similar = (other @ world.descriptors.T).max(axis=1) >= 0.7
    assert ((recogniser.recognise(features(other)).argmax(axis=1) == 0) == ~similar).all()


def test_at_the_least_cosine_background_is_as_probable():
    recogniser = NearestRecogniser(np.array([[1.0, 0.0]]), np.array([2]), 3, least_cosine=0.8)
    (found,) = recogniser.recognise(features(np.array([[0.8, 0.6]], np.float32)))
    assert found[0] == pytest.approx(found[2])
    assert found[1] < 1e-6  # a landmark without points


def test_points_of_no_landmark_are_no_candidates():
    recogniser = NearestRecogniser(np.eye(2), np.array([0, 1]), 2)
    found = recogniser.recognise(features(np.eye(2, dtype=np.float32)))
    assert found.argmax(axis=1).tolist() == [0, 1]
    nothing = NearestRecogniser(np.eye(2), np.zeros(2, np.int64), 2)
    assert nothing.recognise(features(np.eye(2, dtype=np.float32))).argmax(axis=1).tolist() == [0, 0]


def test_no_keypoints_and_unlike_descriptors(world):
    recogniser = NearestRecogniser(world.descriptors, world.labels, 5)
    assert recogniser.recognise(features(np.empty((0, DIM), np.float32))).shape == (0, 5)
    with pytest.raises(ModelError, match="different extractors"):
        recogniser.recognise(features(np.ones((2, DIM + 1), np.float32)))


def test_scores_count_landmarks_and_background_apart():
    truth = np.array([1, 1, 1, 2, 0, 0])
    found = np.array([1, 1, 0, 1, 0, 2])
    scores = score_recognition([np.eye(3, dtype=np.float32)[found]], [truth])
    assert scores.accuracy == pytest.approx(2 / 4)
    assert scores.macro_accuracy == pytest.approx((2 / 3 + 0) / 2)
    assert scores.background_precision == pytest.approx(1 / 2)
    assert scores.background_recall == pytest.approx(1 / 2)


def test_where_nothing_can_be_wrong_the_score_is_one():
    scores = score_recognition([], [])
    assert (scores.accuracy, scores.macro_accuracy, scores.background_precision, scores.background_recall) == (1,) * 4
