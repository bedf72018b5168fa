"""The parts of a small synthetic map."""

import numpy as np
import pycolmap

from visloc_ros.core.map import LocalFeatures, Manifest, ModelInfo

MANIFEST = Manifest(
    "room",
    "synthetic",
    {"extractor": ModelInfo("random", "none", "ab" * 32)},
    metric=True,
    gravity_aligned=False,
    config={"pairs": {"window": 4}},
)


def synthetic_parts(dimension=16):
    """A reconstruction of six images, local features of a dimension, global descriptors, and their centres."""
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
        local = rng.normal(size=(len(keypoints), dimension)).astype(np.float32)
        scores = rng.uniform(size=len(keypoints)).astype(np.float32)
        features[image.name] = LocalFeatures(keypoints, scores, local, (640, 480))
        descriptors[image.name] = rng.normal(size=32).astype(np.float32)
    return reconstruction, features, descriptors, rng.normal(size=(2, dimension)).astype(np.float32)
