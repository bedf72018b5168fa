"""Exactly known maps without images or networks: every 3D point has its own random descriptor."""

import numpy as np
import pycolmap

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.manifest import ModelInfo, UncertaintyInfo
from visloc_ros.core.map import NO_POINT, LocalFeatures, Manifest, Map, MapImage
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.features import MatcherConfig, Vlad, VladConfig, make_matcher
from visloc_ros.features.types import OneByOne

DIM = 32
MATCHER = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.7))
INFO = ModelInfo("synthetic", "Apache-2.0")
EXACT = UncertaintyInfo(0.0, 0.0, np.zeros((6, 6)).tolist(), np.zeros((6, 6)).tolist(), 1.0, 1.0)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class World:
    """A synthesized COLMAP reconstruction as a map, and features as any camera would find them in it."""

    def __init__(self, seed=0, points=400, images=8):
        options = pycolmap.SyntheticDatasetOptions(
            num_rigs=1, num_frames_per_rig=images, num_points3D=points, num_points2D_without_point3D=20
        )
        pycolmap.set_random_seed(seed)
        self.reconstruction = pycolmap.synthesize_dataset(options)
        self.rng = np.random.default_rng(seed)
        ids = sorted(self.reconstruction.points3D)
        self.row_of = {point: row for row, point in enumerate(ids)}
        self.points = np.array([self.reconstruction.points3D[point].xyz for point in ids])
        self.descriptors = unit(self.rng.normal(size=(len(ids), DIM)))
        self.camera = next(iter(self.reconstruction.cameras.values()))
        self.map = self._make_map()

    def _make_map(self):
        images = tuple(self._make_image(image) for image in self.reconstruction.images.values())
        vlad = Vlad.train([image.features.descriptors for image in images], VladConfig(clusters=8))
        vectors = np.stack([vlad.describe_features(image.features) for image in images])
        manifest = Manifest(
            "synthetic",
            "synthetic",
            {"extractor": INFO},
            metric=True,
            gravity_aligned=False,
            scale_source="reference poses",
            uncertainty=EXACT,
        )
        return Map("synthetic", manifest, images, self.points, vectors, vlad.centroids)

    def _make_image(self, image):
        rows = np.array([self.row_of[p.point3D_id] if p.has_point3D() else NO_POINT for p in image.points2D], np.int32)
        keypoints = np.array([p.xy for p in image.points2D], np.float32)
        pose = SE3.from_rigid3d(image.cam_from_world()).inverse
        return MapImage(image.name, pose, self.camera, self.features_at(keypoints, rows), rows)

    def features_at(self, keypoints, rows, noise=0.02):
        """Features at keypoints (N, 2) that show the points of these rows, or something else where NO_POINT."""
        shown = np.where(
            (rows != NO_POINT)[:, None], self.descriptors[rows], unit(self.rng.normal(size=(len(rows), DIM)))
        )
        descriptors = unit(shown + noise * self.rng.normal(size=shown.shape))
        size = (self.camera.width, self.camera.height)
        return LocalFeatures(keypoints.astype(np.float32), np.ones(len(rows), np.float32), descriptors, size)

    def view(self, map_from_camera, camera=None, noise_px=0.5, outliers=0.0):
        """Features that ``camera`` would find at a pose; a share of them lies where it should not."""
        camera = camera or self.camera
        pixels = project(camera, map_from_camera.inverse @ self.points)
        seen = np.flatnonzero(((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=1))
        keypoints = pixels[seen] + self.rng.normal(0.0, noise_px, (len(seen), 2))
        wrong = self.rng.random(len(seen)) < outliers
        keypoints[wrong] = self.rng.uniform([0, 0], [camera.width, camera.height], (int(wrong.sum()), 2))
        return self.features_at(keypoints, seen.astype(np.int32))

    def frame(self, camera=None):
        camera = camera or self.camera
        return Frame(123, np.zeros((camera.height, camera.width), np.uint8), camera)


class FakeExtractor(OneByOne):
    """Hands out prepared features instead of looking at the image."""

    info = INFO
    descriptor_dim = DIM

    def __init__(self, features):
        self.features = features
        self.calls = 0

    def extract(self, image):
        self.calls += 1
        return self.features


def near_image(world, row=2):
    """A pose near that of a map image, which no map image has."""
    pose = world.map.images[row].map_from_camera
    return SE3(pose.rotation @ rotation_matrix([0.03, -0.04, 0.05]), pose.translation + np.array([0.1, -0.05, 0.08]))


def is_right(answer, pose, metres=0.1):
    """Whether an answer is a pose, and near this one."""
    return (
        isinstance(answer, AnchorPose)
        and np.linalg.norm(answer.map_from_camera.translation - pose.translation) < metres
    )
