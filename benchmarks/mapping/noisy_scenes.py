"""Synthesized scenes seen with noise, adjusted, and as maps."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.bundle_adjustment import whole_problem
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import LocalFeatures, Map, open_map
from visloc_ros.core.map_writer import write_map
from visloc_ros.mapping.sfm_database import registered_poses

NOISE_PX, FOCAL_PX, CAMERA = 0.7, 500.0, 1
SIZE, CELLS = (640, 480), 4
Noise = Callable[[np.random.Generator, Array], Array]
Known = TypeVar("Known")


def apart(rng: np.random.Generator, pixels: Array) -> Array:
    """Errors (N, 2) of keypoints at pixels (N, 2): of each by itself."""
    return rng.normal(0.0, NOISE_PX, pixels.shape)


def together(rng: np.random.Generator, pixels: Array) -> Array:
    """Errors (N, 2) that keypoints in one cell of the image have in common."""
    cells = np.clip(pixels / SIZE * CELLS, 0, CELLS - 1).astype(int)
    return np.asarray(rng.normal(0.0, NOISE_PX, (CELLS, CELLS, 2))[cells[:, 0], cells[:, 1]])


def scene_of(
    seed: int, focal_factor: float, noise: Noise = apart, images: int = 12
) -> tuple[pycolmap.Reconstruction, dict[str, SE3]]:
    """A scene seen with noise by a camera whose calibration is off by a factor, and the true poses."""
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1,
        num_cameras_per_rig=1,
        num_frames_per_rig=images,
        num_points3D=300,
        num_points2D_without_point3D=0,
        camera_width=SIZE[0],
        camera_height=SIZE[1],
        camera_model_id=pycolmap.CameraModelId.SIMPLE_PINHOLE,
        camera_params=[FOCAL_PX, 320.0, 240.0],
    )
    pycolmap.set_random_seed(seed)
    scene, rng = pycolmap.synthesize_dataset(options), np.random.default_rng(seed)
    truth = registered_poses(scene)
    for image in scene.images.values():
        pixels = np.array([keypoint.xy for keypoint in image.points2D])
        for row, pixel in enumerate(pixels + noise(rng, pixels)):
            image.point2D(row).xy = pixel
    scene.cameras[CAMERA].params = [focal_factor * FOCAL_PX, 320.0, 240.0]
    return scene, truth


def adjust(scene: pycolmap.Reconstruction, refines_camera: bool) -> pycolmap.CeresBundleAdjuster:
    """Adjust a scene, in place; gives what did."""
    adjuster = problem_of(scene, refines_camera)
    adjuster.solve()
    return adjuster


def problem_of(scene: pycolmap.Reconstruction, refines_camera: bool) -> pycolmap.CeresBundleAdjuster:
    """The bundle adjustment of all of a scene."""
    problem = whole_problem(scene, () if refines_camera else (CAMERA,))
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    return pycolmap.create_default_ceres_bundle_adjuster(options, problem, scene)


def map_of(scene: pycolmap.Reconstruction) -> Map:
    """A map of the scene, whose poses count as given: the adjustment is measured apart."""
    features = {image.name: features_at(image) for image in scene.images.values()}
    descriptors = {name: np.ones(4, np.float32) for name in features}
    manifest = Manifest("scene", "synthesized", {}, True, gravity_aligned=False, scale_source="reference poses")
    with tempfile.TemporaryDirectory() as folder:
        write_map(Path(folder), scene, features, descriptors, np.empty((0, 0), np.float32), manifest)
        return open_map(Path(folder), whole=True)


def features_at(image: pycolmap.Image) -> LocalFeatures:
    """Features whose descriptors do not matter."""
    keypoints: NDArray[np.float32] = np.array([point.xy for point in image.points2D], np.float32)
    count = len(keypoints)
    return LocalFeatures(keypoints, np.ones(count, np.float32), np.ones((count, 8), np.float16), (640, 480))


def known(value: Known | None) -> Known:
    """A value that is there: all that is asked for is free in the adjustment."""
    assert value is not None
    return value
