"""Points looked for around a predicted pose, on exactly known maps."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, World, is_right

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.map import NO_POINT
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine, GuidedConfig
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.guided import GuidedSearch, most_similar_within


def disturbed(pose, metres, degrees):
    turn = rotation_matrix(np.radians(degrees) * np.array([0.6, 0.0, 0.8]))
    return SE3(turn @ pose.rotation, pose.translation + metres * np.array([0.0, 0.6, 0.8]))


def engine_for(world, features, **options):
    return AnchorEngine(world.map, AnchorConfig(**options), FakeExtractor(features), MATCHER)


def assert_found(anchor, pose):
    assert is_right(anchor, pose, 0.02)
    assert rotation_angle_deg(anchor.map_from_camera.rotation, pose.rotation) < 0.1


@pytest.mark.parametrize(("metres", "degrees"), [(0.0, 0.0), (0.1, 1.0), (0.2, 2.0)])
def test_a_predicted_pose_needs_neither_retrieval_nor_matching(world, near, metres, degrees):
    anchor = engine_for(world, world.view(near)).localize(world.frame(), prior=disturbed(near, metres, degrees))
    assert_found(anchor, near)
    assert set(anchor.stage_ms) == {"features", "retrieval", "guided", "pnp"}


def test_keypoints_in_wrong_places_do_not_matter(world, near):
    features = world.view(near, outliers=0.4)
    anchor = engine_for(world, features).localize(world.frame(), prior=disturbed(near, 0.1, 1.0))
    assert_found(anchor, near)
    assert "guided" in anchor.stage_ms


@pytest.mark.parametrize("degrees", [20.0, 180.0])
def test_a_prediction_beyond_the_window_falls_back_to_matching(world, near, degrees):
    anchor = engine_for(world, world.view(near)).localize(world.frame(), prior=disturbed(near, 0.0, degrees))
    assert_found(anchor, near)
    assert "matching" in anchor.stage_ms


def test_another_place_is_not_found_however_sure_the_prediction_is(world):
    pose = world.map.images[0].map_from_camera
    other = World(seed=9)
    answer = engine_for(world, other.view(other.map.images[0].map_from_camera)).localize(world.frame(), prior=pose)
    assert isinstance(answer, Rejection)


def test_the_search_can_be_switched_off(world, near):
    options = {"guided": GuidedConfig(enabled=False)}
    anchor = engine_for(world, world.view(near), **options).localize(world.frame(), prior=near)
    assert_found(anchor, near)
    assert "guided" not in anchor.stage_ms


def test_a_pose_found_by_matching_gets_the_points_of_other_images(world, near):
    """Every image knows half of the points, its neighbour the other half."""
    images = [
        replace(image, point_rows=np.where(image.point_rows % 2 == index % 2, image.point_rows, NO_POINT))
        for index, image in enumerate(world.map.images)
    ]
    halves = replace(world.map, images=tuple(images))
    inliers = []
    for enabled in (False, True):
        config = AnchorConfig(stop_inliers=30, stop_spread=0.01, guided=GuidedConfig(enabled=enabled))
        anchor = AnchorEngine(halves, config, FakeExtractor(world.view(near)), MATCHER).localize(world.frame())
        assert_found(anchor, near)
        inliers.append(anchor.num_inliers)
    assert inliers[1] > 1.5 * inliers[0]


def test_points_in_one_corner_are_not_enough(world, near):
    features = world.view(near)
    from_corner = features.keypoints - features.keypoints.min(axis=0)
    inside = np.flatnonzero((from_corner < [200, 150]).all(axis=1))
    corner = features.take(inside)
    anywhere = AnchorConfig(max_risk=1.0)
    spread = AnchorConfig()
    sure = []
    for config in (anywhere, spread):
        search, query = GuidedSearch(world.map, config), Query(world.frame(), corner, Stopwatch())
        sure.append(search.is_sure(search.gather(query, [2], near)))
    assert sure == [True, False]


def test_a_low_image_is_sure_by_its_points_though_they_spread_little(world, near):
    """A strip, as of a car's camera: its pixels cannot spread as far as those of a high image."""
    features = world.view(near)
    strip = features.take(np.flatnonzero(np.abs(features.keypoints[:, 1] - world.camera.height / 2) < 75))
    search, query = GuidedSearch(world.map, AnchorConfig()), Query(world.frame(), strip, Stopwatch())
    evidence = search.gather(query, [1, 2, 3], near)
    assert evidence.support.spread < 0.08
    assert search.is_sure(evidence)


def test_every_keypoint_and_every_point_is_used_once_the_best_first(world, near):
    """Every correspondence is right: noise is half a pixel, descriptors are distinct."""
    features = world.view(near)
    query = Query(world.frame(), features, Stopwatch())
    found = GuidedSearch(world.map, AnchorConfig()).gather(query, [1, 2, 3], near).correspondences
    assert len(found) > 50
    assert len(set(found.keypoint_rows)) == len(set(found.point_rows)) == len(found)
    assert np.all(np.diff(found.scores) <= 0)
    shown = features.descriptors[found.keypoint_rows]
    assert np.sum(shown * world.descriptors[found.point_rows], axis=1).min() > 0.9


def with_common_part(descriptors, common):
    """Unit descriptors that are alike even where they describe different points, as those of RootSIFT are."""
    shifted = descriptors + common * np.full(descriptors.shape[1], descriptors.shape[1] ** -0.5)
    return (shifted / np.linalg.norm(shifted, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("common", [0.0, 1.5])
def test_how_alike_descriptors_of_different_points_are_does_not_matter(world, near, common):
    """Another place gives as few correspondences, and this one as many, though all descriptors are 0.7 alike."""
    images = tuple(
        replace(one, features=replace(one.features, descriptors=with_common_part(one.features.descriptors, common)))
        for one in world.map.images
    )
    search = GuidedSearch(replace(world.map, images=images), AnchorConfig())
    other = World(seed=9)
    counts = []
    for features in (world.view(near), other.view(other.map.images[0].map_from_camera)):
        alike = replace(features, descriptors=with_common_part(features.descriptors, common))
        query = Query(world.frame(), alike, Stopwatch())
        counts.append(len(search.gather(query, [1, 2, 3], near).correspondences))
    assert counts[0] > 50
    assert counts[1] < 0.1 * counts[0]


def test_a_reference_without_points_in_view_gives_no_pose(world, near):
    away = SE3(near.rotation, near.translation + np.array([0.0, 0.0, 1000.0]))
    query = Query(world.frame(), world.view(near), Stopwatch())
    evidence = GuidedSearch(world.map, AnchorConfig()).gather(query, [2], away)
    assert evidence.solution is None
    assert len(evidence.correspondences) == 0


@pytest.mark.parametrize(("keypoints", "points"), [(200, 300), (5, 40), (40, 1), (3, 0), (0, 3)])
@pytest.mark.parametrize("window", [3.0, 60.0])
def test_the_most_similar_point_of_the_window_is_found(keypoints, points, window):
    rng = np.random.default_rng(0)
    seen, projected = (rng.uniform(0, 300, (count, 2)).astype(np.float32) for count in (keypoints, points))
    similarity = rng.uniform(-1, 1, (keypoints, points)).astype(np.float32)
    best, scores = most_similar_within(seen, projected, window, similarity)
    for row, pixel in enumerate(seen):
        near = np.flatnonzero(np.abs(projected - pixel).max(axis=1) <= window)
        if len(near) == 0:
            assert scores[row] < -1.0
        else:
            assert best[row] == near[similarity[row, near].argmax()]
            assert scores[row] == similarity[row, near].max()


def test_of_equally_similar_points_the_leftmost_is_found():
    projected = np.array([[52, 50], [48, 51], [48, 49], [90, 50]], np.float32)
    similarity = np.array([[0.9, 0.9, 0.9, 1.0]], np.float32)
    best, _ = most_similar_within(np.array([[50, 50]], np.float32), projected, 10.0, similarity)
    assert best[0] == 1
