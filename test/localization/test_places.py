"""Places that look alike are solved apart (covisibility clustering)."""

from dataclasses import replace

import numpy as np
from synthetic_map import FakeExtractor, World

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.core.types import AnchorPose
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine, GuidedConfig

MATCHER = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))
AWAY = np.array([100.0, 0.0, 0.0])


def with_twin(world):
    """The map of a place and of its exact copy somewhere else, their images taken in turns."""
    copies = [
        replace(
            image,
            name=f"twin_{image.name}",
            map_from_camera=SE3(image.map_from_camera.rotation, image.map_from_camera.translation + AWAY),
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


def localize(world, map_, pose, **options):
    config = AnchorConfig(top_k=6, stop_inliers=10_000, guided=GuidedConfig(refine=False), **options)
    return AnchorEngine(map_, config, FakeExtractor(world.view(pose)), MATCHER).localize(world.frame())


def test_the_evidence_for_a_pose_comes_from_one_place():
    world = World()
    pose = world.map.images[2].map_from_camera
    anchor = localize(world, with_twin(world), pose)
    assert isinstance(anchor, AnchorPose)
    assert len({name.startswith("twin_") for name in anchor.references}) == 1
    assert anchor.num_inliers > 0.9 * anchor.num_matches


def test_without_places_half_of_the_evidence_speaks_against_the_other_half():
    world = World()
    pose = world.map.images[2].map_from_camera
    anchor = localize(world, with_twin(world), pose, min_shared_points=0)
    assert len({name.startswith("twin_") for name in anchor.references}) == 2
    assert anchor.num_inliers < 0.6 * anchor.num_matches


def test_images_connected_through_a_third_are_one_place():
    world = World()
    anchor = localize(world, world.map, world.map.images[2].map_from_camera)
    assert len(anchor.references) == 6
