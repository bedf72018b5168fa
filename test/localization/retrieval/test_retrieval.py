"""Search by retrieval: a learned matcher where neighbours leave doubt, and places that look alike solved apart."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, World, is_right, unit

from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map
from visloc_ros.core.types import Reason
from visloc_ros.localization import AnchorConfig, AnchorEngine, GuidedConfig


class LearnedMatcher:
    """Stands for a network: as good as nearest neighbours of descriptors that differ more, and slow."""

    info = ModelInfo("learned", "Apache-2.0")
    batch_size = 1

    def __init__(self):
        self.calls = 0
        self._matcher = MATCHER

    def match_many(self, query, references):
        self.calls += len(references)
        return self._matcher.match_many(query, references)


def localize(world, features, prior=None, **options):
    matcher = LearnedMatcher()
    engine = AnchorEngine(world.map, AnchorConfig(**options), FakeExtractor(features), matcher)
    return engine.localize(world.frame(), prior), matcher.calls


def assert_found(answer, pose):
    assert is_right(answer, pose, 0.05)


def of_part(features, width, height):
    """The features in one corner of the image."""
    inside = np.flatnonzero((features.keypoints < [width, height]).all(axis=1))
    return features.take(inside)


def test_a_clear_view_needs_no_learned_matcher(world, near):
    answer, calls = localize(world, world.view(near))
    assert_found(answer, near)
    assert calls == 0


def test_nor_does_another_place(world):
    other = World(seed=9)
    answer, calls = localize(world, other.view(other.map.images[0].map_from_camera))
    assert answer.reason is Reason.FEW_INLIERS
    assert answer.counts["matches"] > 0
    assert calls == 0


def test_a_false_prediction_does_not_change_that(world, near):
    answer, calls = localize(world, world.view(near), prior=world.map.images[6].map_from_camera)
    assert_found(answer, near)
    assert calls == 0


def test_many_points_of_one_corner_leave_no_doubt(world, near):
    answer, calls = localize(world, of_part(world.view(near), 640, 480))
    assert_found(answer, near)
    assert calls == 0


@pytest.mark.parametrize("options", [{"nearest_first": False}, {"guided": GuidedConfig(enabled=False)}])
def test_the_learned_matcher_can_come_first(world, near, options):
    answer, calls = localize(world, world.view(near), **options)
    assert_found(answer, near)
    assert calls > 0


def test_too_few_matches_are_named_as_such(world, near):
    features = world.view(near)
    few = features.take(np.arange(40))
    answer, calls = localize(world, few, min_matches=100)
    assert answer.reason is Reason.FEW_MATCHES
    assert calls == 0


AWAY = np.array([100.0, 0.0, 0.0])


def with_twin(world, painted=0.0):
    """The map of a place and of its copy somewhere else, a share of it painted again, their images taken in turns."""
    rng = np.random.default_rng(1)
    changed = rng.random(len(world.points)) < painted
    copies = [
        replace(
            image,
            name=f"twin_{image.name}",
            map_from_camera=away(image.map_from_camera),
            features=repainted(image, changed, rng),
            point_rows=np.where(image.point_rows == NO_POINT, NO_POINT, image.point_rows + len(world.points)).astype(
                np.int32
            ),
        )
        for image in world.map.images
    ]
    images = tuple(image for pair in zip(world.map.images, copies, strict=True) for image in pair)
    points = np.concatenate((world.points, world.points + AWAY))
    vectors = np.repeat(world.map.global_descriptors, 2, axis=0)
    return Map("twins", world.map.manifest, images, points, vectors, world.map.vlad_centroids)


def away(pose):
    return SE3(pose.rotation, pose.translation + AWAY)


def repainted(image, changed, rng):
    """The features of a map image with other descriptors where it shows points that have changed."""
    features, rows = image.features, image.point_rows
    descriptors = features.descriptors.copy()
    here = np.flatnonzero((rows != NO_POINT) & changed[np.maximum(rows, 0)])
    descriptors[here] = unit(rng.normal(size=(len(here), descriptors.shape[1])))
    return LocalFeatures(features.keypoints, features.scores, descriptors, features.image_size)


def localize_in(world, map_, pose, prior=None, **options):
    config = AnchorConfig(top_k=6, stop_inliers=10_000, **options)
    return AnchorEngine(map_, config, FakeExtractor(world.view(pose)), MATCHER).localize(world.frame(), prior)


@pytest.mark.parametrize("guided", [True, False])
def test_of_two_places_that_look_the_same_neither_is_reported(world, guided):
    answer = localize_in(
        world, with_twin(world), world.map.images[2].map_from_camera, guided=GuidedConfig(enabled=guided)
    )
    assert answer.reason is Reason.AMBIGUOUS_PLACE


@pytest.mark.parametrize("guided", [True, False])
def test_of_two_places_that_look_alike_the_one_that_explains_more_is_reported(world, guided):
    pose = world.map.images[2].map_from_camera
    anchor = localize_in(world, with_twin(world, painted=0.8), pose, guided=GuidedConfig(enabled=guided))
    assert is_right(anchor, pose, 0.1)
    assert not {name.startswith("twin_") for name in anchor.references} - {False}


@pytest.mark.parametrize("place", [SE3.identity(), SE3(np.eye(3), AWAY)])
def test_a_prediction_decides_which_of_them_it_is(world, place):
    pose = world.map.images[2].map_from_camera
    there = place @ pose
    anchor = localize_in(world, with_twin(world), pose, prior=there)
    assert is_right(anchor, there, 0.1)


def test_without_places_half_of_the_evidence_speaks_against_the_other_half(world):
    pose = world.map.images[2].map_from_camera
    anchor = localize_in(world, with_twin(world), pose, min_shared_points=0, guided=GuidedConfig(enabled=False))
    assert len({name.startswith("twin_") for name in anchor.references}) == 2
    assert anchor.num_inliers < 0.6 * anchor.num_matches


def test_images_connected_through_a_third_are_one_place(world):
    anchor = localize_in(world, world.map, world.map.images[2].map_from_camera, guided=GuidedConfig(enabled=False))
    assert len(anchor.references) == 6
