"""A synthetic map on disk whose points have descriptors of their own, and an extractor that sees them."""

import numpy as np
import pycolmap

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures, Manifest, ModelInfo, save_map
from visloc_ros.core.types import Frame
from visloc_ros.features import Vlad, VladConfig
from visloc_ros.features.types import OneByOne

DIM = 128
INFO = ModelInfo("aliked-n16", "BSD-3-Clause", "ab" * 32)
SIZE = (640, 480)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Room(OneByOne):
    """A reconstruction with exact keypoints; ``extract`` finds the points that a frame's name says it sees."""

    info = INFO
    descriptor_dim = DIM

    def __init__(self, num_cameras_per_rig=1):
        options = pycolmap.SyntheticDatasetOptions(
            num_rigs=1,
            num_cameras_per_rig=num_cameras_per_rig,
            num_frames_per_rig=6,
            num_points3D=150,
            camera_width=SIZE[0],
            camera_height=SIZE[1],
        )
        options.camera_params = [600.0, 320.0, 240.0, 0.02]
        pycolmap.set_random_seed(5)
        self.reconstruction = pycolmap.synthesize_dataset(options)
        self.camera = next(iter(self.reconstruction.cameras.values()))
        self.rng = np.random.default_rng(0)
        self.ids = np.array(sorted(self.reconstruction.points3D))
        self.points = np.array([self.reconstruction.points3D[i].xyz for i in self.ids])
        self.descriptors = unit(self.rng.normal(size=(len(self.ids), DIM)))
        for image in self.reconstruction.images.values():
            image.name = f"room/{image.name}"
        self.features = {image.name: self._features_of(image) for image in self.reconstruction.images.values()}

    def save(self, path, info=INFO):
        """Write the room as a map of this package."""
        vlad = Vlad.train([one.descriptors for one in self.features.values()], VladConfig(clusters=4))
        vectors = {name: vlad.describe_features(one) for name, one in self.features.items()}
        manifest = Manifest("room", "synthetic", {"extractor": info, "global": vlad.info}, True, False)
        save_map(path, self.reconstruction, self.features, vectors, vlad.centroids, manifest)
        return path

    def frames(self):
        """Two frames near map images, with their true poses in ``poses``."""
        self.poses = {}
        for stamp, image in enumerate(list(self.reconstruction.images.values())[:2]):
            moved = SE3.from_rotation_vector(np.array([0.01, 0.02, 0.0]), np.array([0.05, -0.02, 0.03]))
            name = f"query_{stamp}.jpg"
            self.poses[name] = SE3.from_rigid3d(image.cam_from_world()).inverse @ moved
            yield Frame(stamp, np.full((SIZE[1], SIZE[0]), stamp, np.uint8), self.camera, name)

    def extract(self, image):
        """Features of the frame whose grey value is its number."""
        camera_from_map = self.poses[f"query_{image[0, 0]}.jpg"].inverse
        pixels = self.camera.img_from_cam(camera_from_map @ self.points).astype(np.float32)
        seen = ((pixels > 0) & (pixels < SIZE)).all(axis=1)
        return LocalFeatures(pixels[seen], np.ones(seen.sum(), np.float32), self.descriptors[seen], SIZE)

    def _features_of(self, image):
        keypoints = np.array([point.xy for point in image.points2D], np.float32)
        described = unit(self.rng.normal(size=(len(keypoints), DIM)))
        for row, point in enumerate(image.points2D):
            if point.has_point3D():
                described[row] = self.descriptors[np.searchsorted(self.ids, point.point3D_id)]
        return LocalFeatures(keypoints, np.ones(len(keypoints), np.float32), described, SIZE)
