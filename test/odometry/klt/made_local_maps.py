"""Local maps of exact landmarks, seen by a camera that moves sideways."""

import numpy as np
from odometry_scenes import FOCAL_PX, make_camera, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.tracking import Features

CONFIG = KltConfig(window_keyframes=4, max_keyframes=10)
IMAGE = np.zeros((480, 640), np.uint8)
IDS = np.arange(100, dtype=np.int64)


def add_keyframe(local_map, index, points, wrong=False):
    truth = sideways_pose(0.2 * index)
    rays = rays_of(truth, points)
    pixels = (rays * FOCAL_PX + [320.0, 240.0]).astype(np.float32)
    features = Features(IDS, pixels, rays, np.full(len(IDS), FOCAL_PX))
    pose = SE3(rotation_matrix([0.0, 0.004, 0.0]), np.array([0.02, -0.01, 0.01])) @ truth if wrong else truth
    return local_map.add_keyframe(index, pose, features, IMAGE, make_camera())


def make_map(num_keyframes=6, wrong_from=99, config=CONFIG):
    points = random_points(100)
    local_map = LocalMap(0, config)
    for index in range(num_keyframes):
        add_keyframe(local_map, index, points, wrong=index >= wrong_from)
    local_map.landmarks.add(IDS, points.copy(), 0)
    return local_map, points
