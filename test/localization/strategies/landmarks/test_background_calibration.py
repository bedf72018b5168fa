"""The pre-filter: the threshold it is calibrated to, and when it keeps everything; and how recognition is scored."""

import numpy as np
import pytest

from visloc_ros.localization.strategies.landmarks.recogniser import (
    KEEP_ALL,
    background_threshold,
    keep_likely_landmarks,
)
from visloc_ros.localization.strategies.landmarks.training_curve import score_recognition


def with_background(probabilities):
    background = np.asarray(probabilities, np.float32)
    return np.column_stack((background, 1.0 - background))


def test_the_threshold_keeps_this_share_of_landmark_tokens():
    rng = np.random.default_rng(0)
    images = [with_background(rng.beta(1, 4, 500)) for _ in range(3)]
    labels = [np.where(rng.random(500) < 0.5, 1, 0) for _ in images]
    threshold = background_threshold(images, labels)
    inliers = np.concatenate([one[truth == 1, 0] for one, truth in zip(images, labels, strict=True)])
    assert 0.97 <= (inliers <= threshold).mean() < 0.975


def test_background_tokens_do_not_move_the_threshold():
    probabilities = with_background([0.1, 0.2, 0.3, 0.99])
    assert background_threshold([probabilities], [np.array([1, 1, 1, 0])]) == pytest.approx(0.3)


@pytest.mark.parametrize("labels", [[], [np.zeros(2, np.int64)]])
def test_without_landmark_tokens_everything_is_kept(labels):
    probabilities = [with_background([0.5, 1.0]) for _ in labels]
    assert background_threshold(probabilities, labels) == KEEP_ALL
    assert keep_likely_landmarks(with_background([0.5, 1.0]), KEEP_ALL).tolist() == [0, 1]


def test_tokens_that_are_surely_background_are_dropped():
    assert keep_likely_landmarks(with_background([0.1, 0.95, 0.8, 0.9, 0.99]), 0.9).tolist() == [0, 2, 3]


@pytest.mark.parametrize(("kept", "expected"), [(4, 4), (3, 10)])
def test_less_than_two_fifths_left_means_that_all_are_kept(kept, expected):
    probabilities = with_background([0.1] * kept + [0.99] * (10 - kept))
    assert len(keep_likely_landmarks(probabilities, 0.9)) == expected


def test_an_image_without_tokens_or_of_background_alone():
    assert len(keep_likely_landmarks(np.zeros((0, 3), np.float32), 0.9)) == 0
    assert keep_likely_landmarks(with_background([0.99] * 4), 0.9).tolist() == [0, 1, 2, 3]


def test_scores_count_landmarks_and_background_apart():
    truth = np.array([1, 1, 1, 2, 0, 0])
    found = np.array([1, 1, 0, 1, 0, 2])
    scores = score_recognition([np.eye(3, dtype=np.float32)[found]], [truth])
    assert scores["accuracy"] == pytest.approx(2 / 4)
    assert scores["macro_accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["background_precision"] == pytest.approx(1 / 2)
    assert scores["background_recall"] == pytest.approx(1 / 2)


def test_where_nothing_can_be_wrong_the_score_is_one():
    scores = score_recognition([], [])
    assert set(scores.values()) == {1.0}
