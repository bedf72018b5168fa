"""An exactly known scene: cameras, points and the matches between the images that see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pycolmap
import pytest
from kitchen_map import CONFIG, NUM_IMAGES, Recorder

from visloc_ros.core.geometry import SE3
from visloc_ros.mapping import build_map
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.sfm_database import SfmImage
from visloc_ros.sources import SourceConfig, open_source


@dataclass(frozen=True)
class Scene:
    """Images in order, their poses, and for every keypoint the row of its point or -1."""

    camera: pycolmap.Camera
    views: list[SfmImage]
    poses: list[SE3]
    points: np.ndarray
    point_rows: list[np.ndarray]

    def matches(self, pairs: list[Pair] | None = None, wrong: int = 0, seed: int = 0) -> PairMatches:
        """True matches of pairs (default: all), and as many wrong ones as asked for among them."""
        rng = np.random.default_rng(seed)
        every = [(i, j) for i in range(len(self.views)) for j in range(i + 1, len(self.views))]
        return {pair: self._match(*pair, wrong, rng) for pair in (every if pairs is None else pairs)}

    def _match(self, i: int, j: int, wrong: int, rng: np.random.Generator) -> np.ndarray:
        common, a, b = np.intersect1d(self.point_rows[i], self.point_rows[j], return_indices=True)
        true = np.stack([a, b], axis=1)[common >= 0].astype(np.int32)
        true[rng.permutation(len(true))[:wrong], 1] = true[rng.permutation(len(true))[:wrong], 1]
        return true[np.unique(true[:, 1], return_index=True)[1]]


@pytest.fixture(scope="session")
def kitchen(shared_data):
    """Six images of a kitchen, filmed one after the other, with their true poses."""
    return open_source(shared_data / "7scenes_redkitchen", SourceConfig(every=10, last=10 * NUM_IMAGES - 1))


@pytest.fixture(scope="session")
def longer(shared_data):
    """The images of the kitchen and two more: without known poses, a map begins only where the camera moves."""
    return open_source(shared_data / "7scenes_redkitchen", SourceConfig(every=10, last=10 * NUM_IMAGES + 19))


@pytest.fixture(scope="session")
def known(kitchen, tmp_path_factory):
    """Map of the kitchen at known poses: its folder, summary and the progress that was reported."""
    path = tmp_path_factory.mktemp("maps") / "kitchen"
    recorder = Recorder()
    summary = build_map(kitchen, path, CONFIG, reference_poses=kitchen.ground_truth, progress=recorder)
    return path, summary, recorder


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Ten cameras along an arc, three metres from a cloud of points that all of them see, without any noise."""
    rng = np.random.default_rng(1)
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
    points = rng.uniform([-1.0, -1.0, -0.7], [1.0, 1.0, 0.7], size=(250, 3))
    poses = [looking_at_centre(angle) for angle in np.linspace(-0.6, 0.6, 10)]
    shared = MapCamera(camera, calibrated=True)
    views, rows = [], []
    for index, pose in enumerate(poses):
        pixels = camera.img_from_cam(pose.inverse @ points)
        order = rng.permutation(len(points))
        noise = rng.uniform([0.0, 0.0], [640.0, 480.0], size=(30, 2))
        keypoints = np.concatenate([pixels[order], noise]).astype(np.float32)
        views.append(SfmImage(f"image{index:02d}.jpg", keypoints, shared))
        rows.append(np.concatenate([order, np.full(30, -1)]))
    return Scene(camera, views, poses, points, rows)


def looking_at_centre(angle: float) -> SE3:
    """Level camera on a circle of 3 m about the origin, z up, looking inwards and slightly up and down."""
    centre = np.array([3.0 * np.cos(angle), 3.0 * np.sin(angle), 0.3 * np.sin(3 * angle)])
    forward = -centre / np.linalg.norm(centre)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return SE3(np.stack([right, np.cross(forward, right), forward], axis=1), centre)
