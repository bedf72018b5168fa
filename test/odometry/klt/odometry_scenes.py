"""Exactly known input for the odometry: random points seen by known cameras, and a textured plane filmed in motion."""

from dataclasses import replace

import cv2
import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.core.types import Frame
from visloc_ros.odometry.klt.bundle import BundleProblem

FOCAL_PX = 400.0


def make_camera(width=640, height=480):
    focal = FOCAL_PX * width / 640
    return pycolmap.Camera(model="PINHOLE", width=width, height=height, params=[focal, focal, width / 2, height / 2])


def random_points(number, seed=0, planar=False):
    rng = np.random.default_rng(seed)
    points = rng.uniform([-2.0, -1.5, 3.0], [2.0, 1.5, 8.0], size=(number, 3))
    if planar:
        points[:, 2] = 5.0 + 0.3 * points[:, 0]
    return points


def rays_of(camera_from_odom, points):
    local = camera_from_odom @ points
    return local[:, :2] / local[:, 2:]


def sideways_pose(metres, turn=(0.02, -0.05, 0.01)):
    """``camera_from_odom`` of a camera that moved to the right and turned."""
    return SE3(rotation_matrix(turn), np.array([-metres, 0.02, 0.05 * metres]))


def make_bundle(num_cameras=6, num_points=150, noise_px=0.0, seed=0):
    """A true problem: cameras along a line, all points seen by all; the first two cameras are fixed."""
    rng = np.random.default_rng(seed)
    points = random_points(num_points, seed)
    poses = [sideways_pose(0.2 * index, turn=(0.01 * index, -0.02 * index, 0.0)) for index in range(num_cameras)]
    rays = np.concatenate([rays_of(pose, points) for pose in poses])
    return BundleProblem(
        rotations=np.stack([pose.rotation for pose in poses]),
        translations=np.stack([pose.translation for pose in poses]),
        points=points,
        is_fixed=np.arange(num_cameras) < 2,
        camera_rows=np.repeat(np.arange(num_cameras), num_points),
        point_rows=np.tile(np.arange(num_points), num_cameras),
        rays=rays + rng.normal(0.0, noise_px / FOCAL_PX, rays.shape),
        pixels_per_ray=np.full(len(rays), FOCAL_PX),
    )


def disturbed(problem, seed=1, turn=0.01, shift=0.03, points=0.1):
    """The same observations with free cameras and points moved away from the truth."""
    rng = np.random.default_rng(seed)
    free = ~problem.is_fixed[:, None]
    steps = np.concatenate([rng.normal(0, turn, (len(free), 3)), rng.normal(0, shift, (len(free), 3))], axis=1)
    return problem.moved(steps * free, rng.normal(0, points, problem.points.shape))


def with_outliers(problem, share, seed=2):
    """Observations of which a share points somewhere else."""
    rng = np.random.default_rng(seed)
    rays = problem.rays.copy()
    wrong = rng.random(len(rays)) < share
    rays[wrong] += rng.uniform(-0.1, 0.1, (int(wrong.sum()), 2))
    return replace(problem, rays=rays)


def motion_error(found_a, found_b, true_a, true_b):
    """Error (6,) of the motion between two poses ``odom_from_camera``, in axes of odom."""
    found, true = found_a.inverse @ found_b, true_a.inverse @ true_b
    turned = rotation_vector(found.rotation @ true.rotation.T)
    return np.concatenate([found_a.rotation @ (found.translation - true.translation), found_a.rotation @ turned])


def texture(height, width, seed=0):
    """Random blobs of several sizes, uint8."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), dtype=np.float64)
    for sigma in (1.5, 3.0, 8.0):
        layer = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigma)
        image += layer / layer.std()
    return np.clip(128.0 + 35.0 * image, 0, 255).astype(np.uint8)


class TwoPlanes:
    """A textured wall with a textured board before it, filmed by a pinhole camera at any pose."""

    def __init__(self, camera, seed=0):
        self.camera = camera
        self._wall = texture(1200, 2000, seed)
        self._board = texture(500, 700, seed + 1)

    def frame(self, stamp_ns, world_from_camera):
        """Render one frame; the wall is 4 m away at the start, the board 2 m."""
        camera_from_world = world_from_camera.inverse
        size = (self.camera.width, self.camera.height)
        wall = self._warp(self._wall, camera_from_world, depth=4.0, pixels_per_metre=200.0)
        board = self._warp(self._board, camera_from_world, depth=2.0, pixels_per_metre=400.0)
        image = cv2.warpPerspective(self._wall, wall, size)
        mask = cv2.warpPerspective(np.full_like(self._board, 255), board, size, flags=cv2.INTER_NEAREST)
        image[mask > 0] = cv2.warpPerspective(self._board, board, size)[mask > 0]
        return Frame(stamp_ns, image, self.camera)

    def _warp(self, image, camera_from_world, depth, pixels_per_metre):
        """Homography from texture pixels to image pixels."""
        rows, columns = image.shape
        metres = np.array([[1, 0, -columns / 2], [0, 1, -rows / 2], [0, 0, pixels_per_metre * depth]], dtype=np.float64)
        metres /= pixels_per_metre
        plane = camera_from_world.rotation @ metres + np.outer(camera_from_world.translation, [0, 0, 1])
        k = self.camera.calibration_matrix()
        k[:2, 2] -= 0.5  # OpenCV's pixel centres
        return k @ plane
