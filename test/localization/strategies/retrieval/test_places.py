"""Places that look alike are solved apart (covisibility clustering), and which of them it is must be clear."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, World, unit

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine, GuidedConfig

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


def localize(world, map_, pose, prior=None, **options):
    config = AnchorConfig(top_k=6, stop_inliers=10_000, **options)
    return AnchorEngine(map_, config, FakeExtractor(world.view(pose)), MATCHER).localize(world.frame(), prior)


@pytest.mark.parametrize("guided", [True, False])
def test_of_two_places_that_look_the_same_neither_is_reported(guided):
    world = World()
    answer = localize(world, with_twin(world), world.map.images[2].map_from_camera, guided=GuidedConfig(enabled=guided))
    assert isinstance(answer, Rejection)
    assert answer.reason is Reason.AMBIGUOUS_PLACE


@pytest.mark.parametrize("guided", [True, False])
def test_of_two_places_that_look_alike_the_one_that_explains_more_is_reported(guided):
    world = World()
    pose = world.map.images[2].map_from_camera
    anchor = localize(world, with_twin(world, painted=0.8), pose, guided=GuidedConfig(enabled=guided))
    assert isinstance(anchor, AnchorPose)
    assert np.linalg.norm(anchor.map_from_camera.translation - pose.translation) < 0.1
    assert not {name.startswith("twin_") for name in anchor.references} - {False}


@pytest.mark.parametrize("place", [SE3.identity(), SE3(np.eye(3), AWAY)])
def test_a_prediction_decides_which_of_them_it_is(place):
    world = World()
    pose = world.map.images[2].map_from_camera
    there = place @ pose
    anchor = localize(world, with_twin(world), pose, prior=there)
    assert isinstance(anchor, AnchorPose)
    assert np.linalg.norm(anchor.map_from_camera.translation - there.translation) < 0.1


def test_without_places_half_of_the_evidence_speaks_against_the_other_half():
    world = World()
    pose = world.map.images[2].map_from_camera
    anchor = localize(world, with_twin(world), pose, min_shared_points=0, guided=GuidedConfig(enabled=False))
    assert len({name.startswith("twin_") for name in anchor.references}) == 2
    assert anchor.num_inliers < 0.6 * anchor.num_matches


def test_images_connected_through_a_third_are_one_place():
    world = World()
    anchor = localize(world, world.map, world.map.images[2].map_from_camera, guided=GuidedConfig(enabled=False))
    assert len(anchor.references) == 6
