"""Nearest neighbours before a learned matcher: it is asked only where they leave doubt."""

import numpy as np
import pytest
from synthetic_map import FakeExtractor, World

from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine, GuidedConfig


class LearnedMatcher:
    """Stands for a network: as good as nearest neighbours of descriptors that differ more, and slow."""

    info = ModelInfo("learned", "Apache-2.0")
    batch_size = 1

    def __init__(self):
        self.calls = 0
        self._matcher = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))

    def match_many(self, query, references):
        self.calls += len(references)
        return self._matcher.match_many(query, references)


def localize(world, features, prior=None, **options):
    matcher = LearnedMatcher()
    engine = AnchorEngine(world.map, AnchorConfig(**options), FakeExtractor(features), matcher)
    return engine.localize(world.frame(), prior), matcher.calls


def assert_found(answer, pose):
    assert isinstance(answer, AnchorPose)
    assert np.linalg.norm(answer.map_from_camera.translation - pose.translation) < 0.05


def of_part(features, width, height):
    """The features in one corner of the image."""
    inside = np.flatnonzero((features.keypoints < [width, height]).all(axis=1))
    return LocalFeatures(
        features.keypoints[inside], features.scores[inside], features.descriptors[inside], features.image_size
    )


def test_a_clear_view_needs_no_learned_matcher(world, near):
    answer, calls = localize(world, world.view(near))
    assert_found(answer, near)
    assert calls == 0


def test_nor_does_another_place(world):
    other = World(seed=9)
    answer, calls = localize(world, other.view(other.map.images[0].map_from_camera))
    assert isinstance(answer, Rejection)
    assert answer.reason is Reason.FEW_INLIERS
    assert answer.counts["matches"] > 0
    assert calls == 0


def test_a_false_prediction_does_not_change_that(world, near):
    answer, calls = localize(world, world.view(near), prior=world.map.images[6].map_from_camera)
    assert_found(answer, near)
    assert calls == 0


def test_points_of_one_corner_leave_doubt(world, near):
    answer, calls = localize(world, of_part(world.view(near), 640, 480))
    assert_found(answer, near)
    assert calls > 0


@pytest.mark.parametrize("options", [{"nearest_first": False}, {"guided": GuidedConfig(enabled=False)}])
def test_the_learned_matcher_can_come_first(world, near, options):
    answer, calls = localize(world, world.view(near), **options)
    assert_found(answer, near)
    assert calls > 0


def test_too_few_matches_are_named_as_such(world, near):
    features = world.view(near)
    few = LocalFeatures(features.keypoints[:40], features.scores[:40], features.descriptors[:40], features.image_size)
    answer, calls = localize(world, few, min_matches=100)
    assert answer.reason is Reason.FEW_MATCHES
    assert calls == 0
