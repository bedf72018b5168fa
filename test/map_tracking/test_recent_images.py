import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.recent_images import RecentImages
from visloc_ros.map_tracking.views import PointObservations

CAMERA = pycolmap.Camera(model="PINHOLE", width=320, height=240, params=[200, 200, 160, 120])
STEP_NS = 100_000_000
NOTHING = PointObservations.none()


def at(x):
    return SE3(np.eye(3), np.array([x, 0.0, 0.0]))


def recent(count, predicted=lambda index: None, **options):
    images = RecentImages(MapTrackingConfig(**options))
    for index in range(count):
        images.add(Frame(index * STEP_NS, np.zeros((240, 320), np.uint8), CAMERA), predicted(index))
    return images


def test_the_ring_is_bounded_by_time_and_by_number():
    assert recent(12, history_s=0.5).at(6 * STEP_NS) is not None
    assert recent(12, history_s=0.5).at(5 * STEP_NS) is None
    assert recent(12, history_images=3).at(9 * STEP_NS) is not None
    assert recent(12, history_images=3).at(8 * STEP_NS) is None


def test_large_images_are_halved():
    image = recent(1, max_pixels=40_000).newest
    assert image.picture.grey.shape == (120, 160)
    assert image.picture.reduction == 2.0
    assert image.picture.camera.focal_length_x == 100.0


def test_a_new_anchor_carries_tracked_poses_along_with_both_covariances():
    images = RecentImages(MapTrackingConfig())
    for index in range(3):
        images.add(Frame(index * STEP_NS, np.zeros((240, 320), np.uint8), CAMERA), None)
        images.locate(images.newest, at(0.1 * index), np.eye(6), NOTHING)
    images.rebase(images.at(STEP_NS), at(5.0))
    positions = [image.pose.translation[0] for image in images.with_pose()]
    np.testing.assert_allclose(positions, [4.9, 5.0, 5.1])
    assert images.at(STEP_NS).covariance.max() == 0.0
    assert images.at(2 * STEP_NS).covariance[0, 0] == 2.0


def test_images_since_an_anchor_are_spread_evenly_and_end_with_the_newest():
    images = recent(12)
    assert [image.stamp_ns // STEP_NS for image in images.spread_since(3 * STEP_NS, 8)] == [4, 5, 6, 7, 8, 9, 10, 11]
    assert [image.stamp_ns // STEP_NS for image in images.spread_since(3 * STEP_NS, 3)] == [5, 8, 11]
    assert images.spread_since(11 * STEP_NS, 8) == []


def test_without_tracked_poses_the_predicted_motion_carries_them():
    images = recent(3, predicted=lambda index: at(1.0 + 0.2 * index))
    images.rebase(images.at(0), at(7.0))
    assert images.newest.pose.translation[0] == 7.4
    assert images.newest.covariance is None


def test_without_either_only_the_anchor_s_image_has_a_pose():
    images = recent(3)
    images.rebase(images.at(0), at(7.0))
    assert [image.stamp_ns for image in images.with_pose()] == [0]
