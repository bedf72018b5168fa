"""Descriptors compared as on a GPU, by torch on the processor, against what is done in main memory."""

import numpy as np
import pytest
import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.backends.descriptors_on_gpu import NearestOnGpu, SimilarityOnGpu
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.localization.guided import SimilarityInMemory

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")),
]


def features_of(count, seed, length=32):
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, length)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform(0, 300, (count, 2)).astype(np.float32)
    return LocalFeatures(keypoints, np.ones(count, np.float32), descriptors, (300, 300))


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_neighbours_are_found_in_all_references(device):
    query, references = features_of(80, 0), [features_of(count, seed) for seed, count in enumerate((90, 0, 7, 120, 1))]
    matcher, expected = NearestOnGpu(torch.device(device)), NearestMatcher().match_many(query, references)
    for _ in range(2):  # the second time from what is kept
        found = matcher.match_many(query, references)
        assert [len(matches.pairs) for matches in found] == [len(matches.pairs) for matches in expected]
        for own, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(own.pairs, other.pairs)
            np.testing.assert_allclose(own.scores, other.scores, atol=1e-5)
    assert all(len(matches.pairs) == 0 for matches in matcher.match_many(features_of(0, 1), references))


def test_descriptors_of_other_lengths_are_refused():
    with pytest.raises(ModelError, match="different extractors"):
        NearestOnGpu(torch.device("cpu")).match_many(features_of(5, 0), [features_of(5, 1, length=16)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("keypoints", "points"), [(200, 300), (5, 1), (3, 0), (0, 3)])
def test_the_same_points_are_found_within_a_window(device, keypoints, points):
    seen, known = features_of(keypoints, 2), features_of(points, 3)
    known.keypoints[:1] = -1e6  # behind the camera
    expected = SimilarityInMemory(seen.descriptors, known.descriptors)
    found = SimilarityOnGpu(torch.device(device), seen.descriptors, known.descriptors)
    for window in (5.0, 60.0):
        best, scores = expected.most_similar_within(seen.keypoints, known.keypoints, window)
        own_best, own_scores = found.most_similar_within(seen.keypoints, known.keypoints, window)
        np.testing.assert_allclose(own_scores, scores, atol=1e-5)
        np.testing.assert_array_equal(own_best[scores > -1.0], best[scores > -1.0])
