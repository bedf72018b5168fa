"""Maps of halls and columns, without images: where landmarks are is known."""

from dataclasses import replace

import numpy as np
import pycolmap

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import FileInfo, ModelInfo
from visloc_ros.core.map import LocalFeatures, Manifest, Map, MapImage

DIM = 16
INFO = ModelInfo("synthetic", "Apache-2.0", "a" * 64)
WIDE = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[400, 400, 320, 240])
UPRIGHT = pycolmap.Camera(
    model="OPENCV", width=360, height=640, params=[420, 425, 185, 310, -0.12, 0.03, 0.002, -0.001]
)
FARTHEST_SEEN = 9.0


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def manifest(gravity_aligned=True):
    names = ("sfm/points3D.bin", "features.h5", "global-feats-vlad.h5")
    files = {name: FileInfo(f"{row}" * 64, 10) for row, name in enumerate(names)}
    return Manifest("hall", "synthetic", {"extractor": INFO}, True, gravity_aligned, files=files)


def looking(yaw, position):
    """Pose of a level camera at ``position`` that looks along ``yaw``; z points up."""
    forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    return SE3(np.column_stack([right, [0.0, 0.0, -1.0], forward]), np.asarray(position, float))


def observe(points, poses, camera=WIDE, seed=0, gravity_aligned=True):
    """The map of cameras at these poses that see all points in front of them, near enough, each by a keypoint."""
    rng = np.random.default_rng(seed)
    descriptors = unit(rng.normal(size=(len(points), DIM)))
    images = []
    for row, pose in enumerate(poses):
        in_camera = pose.inverse @ points
        pixels = project(camera, in_camera)
        inside = ((pixels >= 2.0) & (pixels < [camera.width - 2, camera.height - 2])).all(axis=1)
        seen = rng.permutation(np.flatnonzero(inside & (in_camera[:, 2] < FARTHEST_SEEN)))
        keypoints = (pixels[seen] + rng.normal(0.0, 0.3, (len(seen), 2))).astype(np.float32)
        shown = unit(descriptors[seen] + 0.05 * rng.normal(size=(len(seen), DIM))).astype(np.float16)
        features = LocalFeatures(keypoints, np.ones(len(seen), np.float32), shown, (camera.width, camera.height))
        images.append(MapImage(f"{row:04}.jpg", pose, camera, features, seen.astype(np.int32)))
    empty = np.empty((0, 0), np.float32)
    return Map("hall", manifest(gravity_aligned), tuple(images), points, empty, empty)


def hall(count=1500, images=40, camera=WIDE, seed=0):
    """A hall of 12 m by 8 m with points on its walls, and cameras that look at them from all over its middle."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([0.0, 0.0, 0.0], [12.0, 8.0, 3.0], (count, 3))
    wall = rng.integers(0, 4, count)
    points[wall == 0, 0], points[wall == 1, 0], points[wall == 2, 1], points[wall == 3, 1] = 0.0, 12.0, 0.0, 8.0
    places = rng.uniform([3.0, 3.0, 1.4], [9.0, 5.0, 1.6], (images, 3))
    poses = [looking(12.5 * row / images, place) for row, place in enumerate(places)]
    return observe(points, poses, camera)


def columns(count=100, turn=None, gravity_aligned=True):
    """Four columns at the corners of a square, each with points low and far above, and which column each point is of.

    ``turn`` (3, 3) rotates the whole map.
    """
    rng = np.random.default_rng(1)
    corners = np.array([[6.0, 1.5], [6.0, -1.5], [-6.0, 1.5], [-6.0, -1.5]])
    column = np.repeat(np.arange(4), count)
    heights = np.where(rng.random(4 * count) < 0.5, 0.0, 6.0) + rng.uniform(-0.2, 0.2, 4 * count)
    points = np.column_stack([corners[column] + rng.uniform(-0.3, 0.3, (4 * count, 2)), heights])
    places = rng.uniform([-1.0, -1.0, 2.9], [1.0, 1.0, 3.1], (24, 3))
    poses = [looking(np.pi * (row % 2), place) for row, place in enumerate(places)]
    if turn is not None:
        points, poses = points @ turn.T, [SE3(turn, np.zeros(3)) @ pose for pose in poses]
    return observe(points, poses, gravity_aligned=gravity_aligned), column


def shuffled(map_, seed=0):
    """The same map with points and images in another order, and the new row of each point."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(map_.points))
    new_rows = np.argsort(order).astype(np.int32)
    images = [replace(image, point_rows=new_rows[image.point_rows]) for image in map_.images]
    shuffled_images = tuple(images[row] for row in rng.permutation(len(images)))
    return replace(map_, points=map_.points[order], images=shuffled_images), new_rows
