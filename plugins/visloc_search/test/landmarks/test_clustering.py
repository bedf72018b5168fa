"""Which landmark each point of a map belongs to."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_places import columns, hall, looking, observe, shuffled

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import rotation_matrix
from visloc_search.landmarks import clustering
from visloc_search.landmarks.clustering import POSE_POINTS, label_points
from visloc_search.landmarks.config import LandmarkConfig
from visloc_search.landmarks.tokens import BACKGROUND
from visloc_search.reduced_map.frames import Observations

DEFAULTS = LandmarkConfig()


def images_with_a_pose(map_, labels, landmark):
    return sum((labels[image.point_rows] == landmark).sum() >= POSE_POINTS for image in map_.images)


def test_points_seen_often_enough_have_a_landmark_and_others_none(full_map):
    labels = label_points(full_map, DEFAULTS)
    often = Observations.of(full_map).track_lengths(len(full_map.points)) >= 3
    assert np.all(labels[~often] == BACKGROUND)
    assert np.mean(labels[often] != BACKGROUND) > 0.9  # but for those that stand alone
    assert np.array_equal(np.unique(labels[labels != BACKGROUND]), np.arange(1, labels.max() + 1))
    assert labels.max() >= 4


def test_every_landmark_can_give_a_pose_and_none_outgrows_the_others(full_map):
    labels = label_points(full_map, DEFAULTS)
    sizes = np.bincount(labels)[1:]
    assert sizes.min() >= 80
    assert np.median(sizes) <= 5 * sizes.min()
    assert all(images_with_a_pose(full_map, labels, landmark) >= 5 for landmark in range(1, labels.max() + 1))


def test_the_order_of_points_and_images_does_not_matter(full_map):
    labels = label_points(full_map, DEFAULTS)
    other, new_rows = shuffled(full_map)
    assert np.array_equal(label_points(other, DEFAULTS)[new_rows], labels)
    assert np.array_equal(label_points(full_map, DEFAULTS), labels)


@pytest.mark.parametrize("turn", [None, rotation_matrix([0.0, np.pi / 2, 0.0]), rotation_matrix([0.7, -1.1, 0.4])])
def test_what_stands_above_each_other_is_one_landmark(turn):
    """Also in a map that does not know where up is: its cameras moved on a floor."""
    map_, column = columns(turn=turn, gravity_aligned=turn is None)
    labels = label_points(map_, replace(DEFAULTS, num_landmarks=4))
    labelled = labels != BACKGROUND
    assert labelled.mean() > 0.9
    pairs = {(int(label), int(one)) for label, one in zip(labels[labelled], column[labelled], strict=True)}
    assert len(pairs) == 4


def test_the_unit_of_the_map_does_not_matter(hall_map):
    large = replace(hall_map, points=1024.0 * hall_map.points)
    assert np.array_equal(label_points(large, DEFAULTS), label_points(hall_map, DEFAULTS))


def test_a_point_that_stands_alone_is_of_no_landmark(hall_map):
    points = hall_map.points.copy()
    lonely = int(np.argmax(label_points(hall_map, DEFAULTS) != BACKGROUND))
    points[lonely] = [500.0, 300.0, 40.0]
    labels = label_points(replace(hall_map, points=points), DEFAULTS)
    assert labels[lonely] == BACKGROUND
    assert np.bincount(labels)[1:].min() >= 80


@pytest.mark.parametrize("wanted", [1, 3, 500])
def test_no_more_landmarks_than_asked_for_or_than_there_are_points_for(hall_map, wanted):
    labels = label_points(hall_map, LandmarkConfig(num_landmarks=wanted))
    assert 1 <= labels.max() <= min(wanted, len(hall_map.points) // 80)


@pytest.mark.parametrize(("count", "images"), [(60, 40), (400, 3), (12, 12)])
def test_a_map_too_small_for_several_landmarks_is_one(count, images):
    map_ = observe(hall(count).points, [looking(0.1 * row, [4.0, 4.0, 1.5]) for row in range(images)])
    labels = label_points(map_, DEFAULTS)
    assert set(np.unique(labels)) <= {BACKGROUND, 1}
    assert labels.max() == 1


def test_points_in_one_place_are_one_landmark(hall_map):
    heap = replace(hall_map, points=np.ones_like(hall_map.points))
    assert label_points(heap, DEFAULTS).max() == 1


def test_too_many_sub_clusters_make_the_threshold_larger(hall_map, monkeypatch):
    monkeypatch.setattr(clustering, "_MOST_SUBCLUSTERS", 40)
    assert label_points(hall_map, DEFAULTS).max() >= 4


@pytest.mark.filterwarnings("error")
def test_a_map_whose_images_do_not_overlap_is_refused_in_words(hall_map):
    two = replace(hall_map, images=hall_map.images[:2])
    with pytest.raises(MapError, match="overlap more"):
        label_points(two, LandmarkConfig(min_track_length=3))
    assert label_points(two, LandmarkConfig(min_track_length=2)).max() >= 1
