"""The simulated room with a map of exactly known accuracy, and anchors as an engine would find them."""

from dataclasses import replace

import numpy as np

from visloc_ros.core.camera import project, rays
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.types import AnchorPose
from visloc_ros.mapping.collection import encode_thumbnail
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.tracking import detect_corners
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.living_room import make_living_room

RATE_HZ = 20
POINT_NOISE_M = 0.004
KEYPOINT_NOISE_PX = 0.4
MAP_EVERY = 20


class FollowedRoom:
    """One pass to map and one to localize, with the lens of this name; small images, so that all is quick."""

    def __init__(self, lens="mild", seconds=7.0):
        shared = {"width": 320, "height": 240, "focal_px": 240.0, "lens": lens, "rate_hz": RATE_HZ, "samples": 1}
        self.rng = np.random.default_rng(0)
        room = make_living_room(0)
        self.mapped = simulate(SimulationConfig(**shared, duration_s=10.0), "map", room)
        self.walk = simulate(SimulationConfig(**shared, duration_s=seconds), "localize", room=room)
        self.camera = self.walk.camera
        self.true_points, self.map = self._make_map()
        self._frames = {}

    def frame(self, index):
        """A frame of the walk; rendered once."""
        if index not in self._frames:
            self._frames[index] = self.walk.frame(index)
        return self._frames[index]

    def pose(self, index):
        """True ``map_from_camera`` of a frame of the walk."""
        return self.walk.pose(index)

    def anchor(self, index, error=None, draw=0):
        """What an engine finds in a frame, the same each time: the true pose, or ``wrong_from_true`` of it."""
        pose = self.pose(index)
        rows, pixels = self.visible(self.walk, pose)
        rng = np.random.default_rng([draw, index])
        chosen = np.sort(rng.permutation(len(rows))[:120])
        pixels = pixels[chosen] + rng.normal(0.0, KEYPOINT_NOISE_PX, (len(chosen), 2))
        found = pose if error is None else SE3(error.rotation @ pose.rotation, pose.translation + error.translation)
        covariance = np.diag([0.01**2] * 3 + [0.003**2] * 3)
        points = self.map.points[rows[chosen]]
        return AnchorPose(self.walk.stamp_ns(index), found, covariance, len(chosen), len(chosen), 0.5, pixels, points)

    def map_with_pictures(self):
        """The same map with its thumbnails."""
        indices = range(0, len(self.mapped), MAP_EVERY)
        return replace(
            self.map, thumbnails={f"{index}.png": encode_thumbnail(self.mapped.frame(index).image) for index in indices}
        )

    def visible(self, simulation, pose):
        """Rows of the points that are seen from a pose, nothing in front of them, and their pixels (N, 2)."""
        local = pose.inverse @ self.true_points
        rows = np.flatnonzero(local[:, 2] > 0.1)
        pixels = project(self.camera, local[rows])
        inside = np.all((pixels > 3.0) & (pixels < [self.camera.width - 3, self.camera.height - 3]), axis=1)
        rows, pixels = rows[inside], pixels[inside]
        column, row = pixels.astype(int).T
        near = np.abs(simulation.renderer.depth(pose)[row, column] - local[rows, 2]) < 0.03
        return rows[near], pixels[near]

    def _make_map(self):
        indices = range(0, len(self.mapped), MAP_EVERY)
        self.true_points = np.concatenate([self._corners(index) for index in indices])
        noise = self.rng.normal(0.0, POINT_NOISE_M, self.true_points.shape)
        images = tuple(self._map_image(index) for index in indices)
        manifest = Manifest("room", "room", {}, True, gravity_aligned=True, scale_source="reference poses")
        nothing = np.empty((0, 0), np.float32)
        return self.true_points, Map("room", manifest, images, self.true_points + noise, nothing, nothing)

    def _corners(self, index):
        """Points (N, 3) of the room at corners of a map image."""
        pose, depth = self.mapped.pose(index), self.mapped.renderer.depth(self.mapped.pose(index))
        corners = detect_corners(self.mapped.frame(index).grey, np.empty((0, 2)), KltConfig(max_features=120))
        column, row = corners.astype(int).T
        seen = np.isfinite(depth[row, column])
        lines = np.column_stack([rays(self.camera, corners[seen] + 0.5), np.ones(seen.sum())])
        return pose @ (lines * depth[row, column][seen, None])

    def _map_image(self, index):
        pose = self.mapped.pose(index)
        rows, pixels = self.visible(self.mapped, pose)
        keypoints = (pixels + self.rng.normal(0.0, KEYPOINT_NOISE_PX, pixels.shape)).astype(np.float32)
        unseen = np.array([[1.0, 1.0]], np.float32)
        count = len(rows) + 1
        features = LocalFeatures(
            np.vstack([keypoints, unseen]),
            np.ones(count, np.float32),
            np.ones((count, 4), np.float32),
            (self.camera.width, self.camera.height),
        )
        return MapImage(f"{index}.png", pose, self.camera, features, np.append(rows, NO_POINT).astype(np.int32))


def error_of(result, truth):
    """Error (6,) of a pose as covariances have it: metres, then radians, about the axes of the map."""
    turn = rotation_vector(result.rotation @ truth.rotation.T)
    return np.concatenate([result.translation - truth.translation, turn])


def shifted(metres, degrees=0.0):
    """A small wrong motion in the map."""
    return SE3(rotation_matrix([0.0, 0.0, np.radians(degrees)]), np.array([metres, 0.0, 0.0]))
