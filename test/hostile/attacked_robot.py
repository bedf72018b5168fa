"""A back end that is given good measurements, and what a test puts among them."""

import numpy as np

from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, MapIdentity, OdometryPose, TrackedPose
from visloc_ros.pipeline import Backend, BackendConfig, BackendListener
from visloc_ros.pipeline.anchors import RemoteAnchors

RATE_HZ = 20
GOOD, RECOVERY_S = 2 * RATE_HZ, 2.0
MAP_FROM_ODOM = Sim3.from_se3(SE3.from_rotation_vector([0.1, 0.2, 1.5], [4.0, -2.0, 1.0]), scale=2.5)
COVARIANCE = np.diag([1e-4] * 3 + [1e-5] * 3)
ROOM = MapIdentity("room", metric=True, gravity_aligned=True)
FARTHEST_SEEN = 1e3  # all good poses lie within a few metres


def stamp_of(index):
    return 10**15 + index * NANOSECONDS // RATE_HZ


def odometry_at(index):
    t = index / RATE_HZ
    pose = SE3.from_rotation_vector([0.1 * t, 0.2 * np.sin(t), 0.0], [0.4 * t, 0.3 * np.sin(t), 0.2 * np.cos(0.7 * t)])
    return OdometryPose(stamp_of(index), pose, 0, num_tracked=100)


def map_from_camera(index):
    return MAP_FROM_ODOM.apply_to_pose(odometry_at(index).odom_from_camera)


def anchor_pose(index):
    return AnchorPose(stamp_of(index), map_from_camera(index), COVARIANCE, 100, 150, 0.5)


def tracked_at(index, anchor):
    return TrackedPose(
        stamp_of(index), map_from_camera(index), COVARIANCE, stamp_of(anchor), 0.1 * COVARIANCE, 100, 120, 0.5
    )


class Robot(BackendListener):
    """A back end that is given good measurements, and what a test puts among them."""

    def __init__(self):
        self.anchors, self.published, self.index = RemoteAnchors(), [], -1
        self.backend = Backend(BackendConfig(), self.anchors, listener=self)

    def on_published(self, published):
        self.published.append(published)

    def go_on(self, frames, change=lambda pose: pose):
        for _ in range(frames):
            self.index += 1
            if self.index >= 5 and self.index % 5 == 0:
                self.send_anchor(anchor_pose(self.index - 5))
            self.backend.add_odometry(change(odometry_at(self.index)))

    def send_anchor(self, result):
        self.anchors.add(Anchor(result, ROOM))
        self.backend.join_anchors()

    def follow(self, change=lambda tracked: tracked):
        anchor = (self.index // 5) * 5 - 5
        self.backend.add_tracked(change(tracked_at(self.index, anchor)))


def far(pose, distance):
    return SE3(pose.rotation, pose.translation + distance)


def assert_bounded(published, farthest=FARTHEST_SEEN):
    for one in published:
        for pose in (one.odom_from_base, one.map_from_odom, one.raw_map_from_odom):
            if pose is not None:
                assert np.all(np.isfinite(pose.matrix))
                assert np.linalg.norm(pose.translation) < farthest
        if one.pose is not None:
            assert np.linalg.norm(one.pose.map_from_base.translation) < farthest
            assert np.all(np.isfinite(one.pose.covariance))
            assert np.linalg.eigvalsh(one.pose.covariance)[0] >= 0.0
