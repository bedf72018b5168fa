import numpy as np

from visloc_ros.core.map import LocalFeatures
from visloc_ros.features import MatcherConfig, make_matcher


def features_of(descriptors):
    descriptors = np.asarray(descriptors, np.float32)
    count = len(descriptors)
    return LocalFeatures(np.zeros((count, 2), np.float32), np.ones(count, np.float32), descriptors, (640, 480))


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
