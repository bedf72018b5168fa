import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, LocalFeatures, MapImage
from visloc_ros.features import Matches
from visloc_ros.localization.evidence import Correspondences, lift, merge

CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525, 525, 320, 240])


def features_of(count):
    keypoints = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return LocalFeatures(keypoints, np.ones(count, np.float32), np.ones((count, 4), np.float32), (640, 480))


def reference(point_rows):
    rows = np.array(point_rows, np.int32)
    return MapImage("reference.jpg", SE3.identity(), CAMERA, features_of(len(rows)), rows)


def matches(*pairs):
    return Matches(np.array(pairs, np.int32).reshape(-1, 2), np.ones(len(pairs), np.float32))


def pairs_of(correspondences):
    return list(zip(correspondences.keypoint_rows.tolist(), correspondences.point_rows.tolist(), strict=True))


def test_matches_are_followed_to_points_and_dropped_without_one():
    lifted = lift(matches((0, 2), (3, 1), (4, 0)), reference([7, NO_POINT, 9]))
    assert pairs_of(lifted) == [(0, 9), (4, 7)]


def test_merging_keeps_distinct_points_of_a_keypoint_and_drops_repeats():
    """A hand-made case: two references agree on keypoint 0 and differ on keypoint 1."""
    first = lift(matches((0, 0), (1, 1)), reference([5, 6]))
    second = lift(matches((0, 0), (1, 1), (2, 2)), reference([5, 8, 3]))
    assert pairs_of(merge((first, second))) == [(0, 5), (1, 6), (1, 8), (2, 3)]


def test_no_matches_lift_and_merge_to_nothing():
    nothing = lift(matches(), reference([1, 2]))
    assert len(nothing) == 0
    assert len(merge((nothing, Correspondences.none()))) == 0


def test_pixels_are_those_of_the_query_keypoints():
    query = features_of(4)
    lifted = lift(matches((3, 0), (1, 1)), reference([0, 1]))
    np.testing.assert_array_equal(lifted.pixels(query), query.keypoints[[3, 1]])
