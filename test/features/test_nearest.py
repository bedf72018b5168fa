import numpy as np
import pytest
from made_features import features_of

from visloc_ros.core.errors import ModelError
from visloc_ros.features import MatcherConfig, make_matcher


def test_only_mutual_nearest_neighbours_match():
    matcher = make_matcher(MatcherConfig(name="nearest"))
    a = features_of([[1.0, 0.0], [0.0, 1.0], [0.9, 0.436]])  # the third is nearest to b's first, not the other way
    b = features_of([[0.999, 0.045], [0.1, 0.995]])
    matches = matcher.match(a, b)
    assert matches.pairs.tolist() == [[0, 0], [1, 1]]
    np.testing.assert_allclose(matches.scores, [0.999, 0.995], atol=1e-3)


def test_weak_similarity_does_not_match():
    matcher = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.8))
    assert len(matcher.match(features_of([[1.0, 0.0]]), features_of([[0.7, 0.7]]))) == 0


def test_no_features_give_no_matches():
    matcher = make_matcher(MatcherConfig(name="nearest"))
    matches = matcher.match(features_of(np.empty((0, 2))), features_of([[1.0, 0.0]]))
    assert matches.pairs.shape == (0, 2)


def test_an_ambiguous_match_does_not_pass_the_ratio_test():
    a = features_of([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    b = features_of([[0.99, 0.141, 0.0], [0.985, 0.0, 0.1726], [0.0, 1.0, 0.0]])
    assert len(make_matcher(MatcherConfig(name="nearest")).match(a, b)) == 2
    asking = make_matcher(MatcherConfig(name="nearest", ratio=0.8))
    assert asking.match(a, b).pairs.tolist() == [[1, 2]]
    assert asking.match(b, a).pairs.tolist() == [[2, 1]]


def test_the_ratio_is_one_of_distances():
    rng = np.random.default_rng(2)
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in rng.normal(size=(2, 60, 8)))
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)

    def passes(matrix):
        nearest, second = np.sort(matrix, axis=1)[:, :2].T
        return nearest <= 0.9 * second

    mutual = [(i, j) for i, j in enumerate(distances.argmin(axis=1)) if distances[:, j].argmin() == i]
    expected = [[i, j] for i, j in mutual if passes(distances)[i] and passes(distances.T)[j]]
    matcher = make_matcher(MatcherConfig(name="nearest", ratio=0.9, filter_threshold=0.0))
    assert 5 < len(expected) < len(mutual)
    assert matcher.match(features_of(a), features_of(b)).pairs.tolist() == expected


def test_one_of_equal_descriptors_matches():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(40, 8))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    several = rng.integers(0, 40, 120)
    matches = make_matcher(MatcherConfig(name="nearest")).match(features_of(rows[several]), features_of(rows))
    assert several[matches.pairs[:, 0]].tolist() == matches.pairs[:, 1].tolist()
    assert sorted(matches.pairs[:, 1].tolist()) == np.unique(several).tolist()


def test_one_candidate_needs_no_second_best():
    matcher = make_matcher(MatcherConfig(name="nearest", ratio=0.8))
    assert len(matcher.match(features_of([[1.0, 0.0]]), features_of([[1.0, 0.0]]))) == 1


def test_many_references_are_matched_one_by_one():
    matcher = make_matcher(MatcherConfig(name="nearest"))
    query, *references = (features_of(rows) for rows in ([[1.0, 0.0]], [[0.9, 0.436]], np.empty((0, 2)), [[0.0, 1.0]]))
    assert [len(matches) for matches in matcher.match_many(query, references)] == [1, 0, 0]


def test_descriptors_of_different_lengths_are_refused():
    with pytest.raises(ModelError, match="length 2 and 3 come from different extractors"):
        make_matcher(MatcherConfig(name="nearest")).match(features_of([[1.0, 0.0]]), features_of([[1.0, 0.0, 0.0]]))
