"""A small synthetic map: its parts, saved, and as a copy that may be broken."""

import shutil
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from small_map import MANIFEST

from visloc_ros.core.map import LocalFeatures, save_map


@pytest.fixture(scope="module")
def parts():
    """A reconstruction of six images and everything else that a map holds."""
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1, num_frames_per_rig=6, num_points3D=60, camera_height=480, camera_width=640
    )
    options.camera_params = [600.0, 320.0, 240.0, 0.02]
    pycolmap.set_random_seed(3)
    reconstruction = pycolmap.synthesize_dataset(options)
    rng = np.random.default_rng(0)
    features, descriptors = {}, {}
    for image in reconstruction.images.values():
        keypoints = np.array([point.xy for point in image.points2D], np.float32)
        local = rng.normal(size=(len(keypoints), 16)).astype(np.float32)
        scores = rng.uniform(size=len(keypoints)).astype(np.float32)
        features[image.name] = LocalFeatures(keypoints, scores, local, (640, 480))
        descriptors[image.name] = rng.normal(size=32).astype(np.float32)
    return reconstruction, features, descriptors, rng.normal(size=(2, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "room"
    save_map(path, *parts, MANIFEST)
    return path


@pytest.fixture
def broken(saved, tmp_path):
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "broken"))
