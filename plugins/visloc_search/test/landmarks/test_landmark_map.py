"""A map reduced to landmarks is a map, and localization works on it as on others."""

import numpy as np
import pytest
from landmark_places import shuffled, unit
from landmark_worlds import make_landmark_map
from synthetic_map import FakeExtractor, World

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.map import NO_POINT
from visloc_ros.core.timing import Stopwatch
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.evidence import EvidenceCollector, Query
from visloc_ros.localization.guided import GuidedSearch
from visloc_ros.localization.models import check_models
from visloc_ros.localization.view_change import ViewOverlap
from visloc_search.landmarks.clustering import label_points
from visloc_search.landmarks.config import LandmarkConfig
from visloc_search.landmarks.landmark_map import mean_descriptors

DEFAULTS = LandmarkConfig()


def test_all_points_are_of_a_landmark_and_every_landmark_has_points_and_a_frame(landmark_map):
    counts = np.bincount(landmark_map.labels, minlength=landmark_map.num_landmarks + 1)
    assert counts[0] == 0
    assert counts[1:].min() >= 30
    assert len(landmark_map.labels) == len(landmark_map.map.points) == len(landmark_map.points.descriptors)
    for landmark, row in enumerate(landmark_map.frame_rows, start=1):
        shown = landmark_map.labels[landmark_map.map.images[row].point_rows]
        assert (shown == landmark).sum() >= 30


def test_points_and_labels_are_those_of_the_full_map(full_map, landmark_map):
    labels = label_points(full_map, DEFAULTS)
    rows = {point.tobytes(): row for row, point in enumerate(full_map.points)}
    kept = [rows[point.tobytes()] for point in landmark_map.map.points]
    assert len(set(kept)) == len(kept) < len(full_map.points)
    assert np.array_equal(labels[kept], landmark_map.labels)


def test_keypoints_are_projections_by_the_full_model_of_the_camera(full_map, landmark_map):
    by_name = {image.name: image for image in full_map.images}
    for frame in landmark_map.map.images:
        image = by_name[frame.name]
        points = landmark_map.map.points[frame.point_rows]
        pixels = project(image.camera, image.map_from_camera.inverse @ points)
        assert np.allclose(frame.features.keypoints, pixels, atol=1e-3)
        assert np.all((pixels >= 0) & (pixels < [image.camera.width, image.camera.height]))
        assert frame.features.image_size == (image.camera.width, image.camera.height)
        assert len(np.unique(frame.point_rows)) == len(frame.point_rows)
        assert np.array_equal(frame.features.descriptors, landmark_map.points.descriptors[frame.point_rows])


def test_frames_show_what_their_images_saw(full_map, landmark_map):
    by_name = {image.name: image for image in full_map.images}
    for frame in landmark_map.map.images:
        seen = full_map.points[by_name[frame.name].point_rows]
        assert set(map(bytes, landmark_map.map.points[frame.point_rows])) <= set(map(bytes, seen))


def test_virtual_frames_keep_all_points_of_landmarks_that_they_saw(full_map, landmark_map):
    labels = label_points(full_map, DEFAULTS)
    by_name = {image.name: image for image in full_map.images}
    for row in landmark_map.frame_rows:
        frame = landmark_map.map.images[row]
        saw = by_name[frame.name].point_rows
        assert len(frame.point_rows) == (labels[saw] > 0).sum()


def test_scores_fall_with_the_reprojection_error(landmark_map):
    errors = landmark_map.points.errors
    assert 0.2 < np.median(errors) < 0.6  # keypoints are off by 0.3 px in x and in y
    frame = landmark_map.map.images[0]
    assert np.allclose(frame.features.scores, 1.0 / np.clip(5.0 * errors[frame.point_rows], 1.0, 20.0))


def test_the_reduced_map_is_the_same_place_without_what_is_of_images(full_map, landmark_map):
    reduced = landmark_map.map
    assert reduced.identity == full_map.identity
    assert reduced.manifest is full_map.manifest
    assert not reduced.global_descriptors.size
    assert not reduced.vlad_centroids.size
    assert not reduced.thumbnails


def test_the_order_of_the_full_map_does_not_matter(full_map, landmark_map):
    other = make_landmark_map(shuffled(full_map)[0], DEFAULTS)
    assert np.array_equal(other.map.points, landmark_map.map.points)
    assert np.array_equal(other.labels, landmark_map.labels)
    assert np.array_equal(other.points.descriptors, landmark_map.points.descriptors)
    assert np.array_equal(other.frame_rows, landmark_map.frame_rows)
    assert [image.name for image in other.map.images] == [image.name for image in landmark_map.map.images]
    assert all(
        np.array_equal(one.point_rows, two.point_rows)
        for one, two in zip(other.map.images, landmark_map.map.images, strict=True)
    )


def test_one_landmark_can_be_the_whole_map(hall_map):
    reduced = make_landmark_map(hall_map, LandmarkConfig(num_landmarks=1))
    assert reduced.num_landmarks == 1
    assert set(reduced.labels.tolist()) == {1}


def test_the_descriptor_of_a_point_is_the_mean_of_its_observations(hall_map):
    rows = np.array([7, 3, 800])
    observed = [
        [one.features.descriptors[one.point_rows == row][0] for one in hall_map.images if row in one.point_rows]
        for row in rows
    ]
    descriptors = mean_descriptors(hall_map, rows)
    assert descriptors.dtype == np.float16
    assert np.allclose(descriptors, [unit(unit(np.array(one, float)).mean(axis=0)) for one in observed], atol=1e-3)
    assert np.allclose(np.linalg.norm(descriptors.astype(float), axis=1), 1.0, atol=2e-3)


@pytest.fixture(scope="module")
def synthetic():
    """COLMAP's own synthetic scene, which has keypoints of no point and a distorting camera, and its landmarks."""
    world = World(points=600, images=10)
    return world, make_landmark_map(world.map, DEFAULTS)


@pytest.fixture(scope="module")
def query(synthetic):
    """A view near a frame, that of no image, and its pose."""
    world, landmark_map = synthetic
    pose = landmark_map.map.images[0].map_from_camera  # all images see all points: one frame is all that is kept
    pose = SE3(pose.rotation @ rotation_matrix([0.03, -0.04, 0.05]), pose.translation + np.array([0.1, -0.05, 0.08]))
    return Query(world.frame(), world.view(pose), Stopwatch()), pose


def assert_found(evidence, pose):
    assert evidence.num_inliers > 30
    found = evidence.solution.map_from_camera
    assert np.linalg.norm(found.translation - pose.translation) < 0.03
    assert rotation_angle_deg(found.rotation, pose.rotation) < 0.2


def test_the_extractor_is_checked_as_for_other_maps(synthetic):
    check_models(synthetic[1].map, FakeExtractor(None))


def test_guided_search_works_on_it(synthetic, query):
    reduced = synthetic[1].map
    view, pose = query
    references = ViewOverlap(reduced).rank(pose, view.frame.camera, 5)
    assert references
    assert_found(GuidedSearch(reduced, AnchorConfig()).gather(view, references, pose), pose)


def test_matching_works_on_it(synthetic, query):
    _, landmark_map = synthetic
    view, pose = query
    matcher = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))
    collector = EvidenceCollector(landmark_map.map, matcher, AnchorConfig())
    assert_found(collector.gather(view, [[int(row)] for row in landmark_map.frame_rows]), pose)


def test_keypoints_without_a_point_are_left_behind(synthetic):
    world, landmark_map = synthetic
    assert any((image.point_rows == NO_POINT).any() for image in world.map.images)
    assert all((image.point_rows != NO_POINT).all() for image in landmark_map.map.images)


def test_features_without_descriptors_of_their_own_are_features(landmark_map):
    features = landmark_map.map.images[0].features
    some = features.take(np.array([4, 2]))
    assert len(features) == len(features.keypoints)
    assert np.array_equal(some.descriptors, features.descriptors[[4, 2]])
    assert some.scales_angles is None
