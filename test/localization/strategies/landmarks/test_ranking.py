import numpy as np

from visloc_ros.localization.strategies.landmarks.searcher import rank_landmarks

# Six tokens, background and three landmarks.
PROBABILITIES = np.array(
    [
        [0.1, 0.6, 0.2, 0.1],
        [0.1, 0.5, 0.3, 0.1],
        [0.2, 0.1, 0.6, 0.1],
        [0.7, 0.1, 0.0, 0.2],
        [0.1, 0.7, 0.1, 0.1],
        [0.8, 0.0, 0.1, 0.1],
    ],
    np.float32,
)


def labels_and_rows(ranked):
    return [(one.label, one.token_rows.tolist()) for one in ranked]


def test_landmarks_come_by_rank_and_then_by_the_number_of_tokens():
    assert labels_and_rows(rank_landmarks(PROBABILITIES)) == [(1, [0, 1, 4]), (2, [2]), (3, [3])]


def test_a_rank_with_more_tokens_does_not_come_before_a_better_rank():
    probabilities = np.array([[0.0, 0.9, 0.06, 0.04]] + [[0.6, 0.0, 0.3, 0.1]] * 5, np.float32)
    assert [one.label for one in rank_landmarks(probabilities)] == [1, 2, 3]


def test_every_landmark_comes_once_and_background_never():
    probabilities = np.random.default_rng(0).random((50, 9)).astype(np.float32)
    assert sorted(one.label for one in rank_landmarks(probabilities)) == list(range(1, 9))


def test_of_as_many_tokens_the_lower_number_comes_first():
    probabilities = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], np.float32)
    assert [one.label for one in rank_landmarks(probabilities)] == [1, 2]


def test_no_tokens():
    assert list(rank_landmarks(np.zeros((0, 4), np.float32))) == []
