"""A map's own covariance against that of its bundle adjustment, by how they fit the true errors.

Run: python -m benchmarks.mapping.covariance --markdown results/map_size.md

COLMAP's synthesized scenes, with noise on the keypoints: twelve images around 300 points. NEES is the squared error
over the variance, by degree of freedom, of position and rotation for themselves. It is 1 on average where a covariance
is honest, and above where it claims too much. The focal length is that of a camera that was refined. Poses are those of
map images. Leave-one-out is what a map's manifest holds; the bundle adjustment's covariance is scaled by the mean
square of its residuals. Both see the poses that the adjustment ends with, the second in its own gauge, the first after
alignment of all images to the truth.
"""

import tempfile
import time
from pathlib import Path
from typing import TypeVar

import numpy as np
import pycolmap
from numpy.typing import NDArray

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import LocalFeatures, open_map
from visloc_ros.core.map_writer import write_map
from visloc_ros.core.tangent import pose_difference
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization.map_uncertainty import MapUncertainty, measure_map_uncertainty
from visloc_ros.mapping.camera_knowledge import focal_sigma
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import registered_poses

NOISE_PX, FOCAL_PX, CAMERA = 0.7, 500.0, 1
HALF_ANGLES = np.diag([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])  # the tangent of Ceres' quaternions
CASES = {"right calibration": 1.0, "calibration 2 % off": 1.02}
Known = TypeVar("Known")
HEADER = ("covariance of", "case", "by", "NEES", "time")


def main() -> None:
    """Measure all cases, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    add_outputs(parser)
    arguments = parser.parse_args()
    figures: list[Figures] = []
    seeds = range(arguments.scenes)
    figures += summarize("focal length", "refined", [measure_focal_length(seed) for seed in seeds])
    for case, factor in CASES.items():
        figures += summarize("pose", case, [measure_poses(seed, factor) for seed in seeds])
    rows = [[row["of"], row["case"], row["by"], f"{row['nees']:.2f}", f"{row['ms']:.0f} ms"] for row in figures]
    report = {**provenance(), "scenes": arguments.scenes, "rows": figures}
    write_outputs(arguments, "Map covariance", report, f"{arguments.scenes} scenes.\n\n{table(HEADER, rows)}")


def summarize(of: str, case: str, results: list[dict[str, tuple[float, float]]]) -> list[Figures]:
    """Mean NEES and time of each way over the scenes."""
    return [
        {
            "of": of,
            "case": case,
            "by": way,
            "nees": float(np.mean([one[way][0] for one in results])),
            "ms": 1e3 * float(np.mean([one[way][1] for one in results])),
        }
        for way in results[0]
    ]


def scene_of(seed: int, focal_factor: float) -> tuple[pycolmap.Reconstruction, dict[str, SE3]]:
    """A scene seen with noise by a camera whose calibration is off by a factor, and the true poses."""
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1,
        num_cameras_per_rig=1,
        num_frames_per_rig=12,
        num_points3D=300,
        num_points2D_without_point3D=0,
        camera_width=640,
        camera_height=480,
        camera_model_id=pycolmap.CameraModelId.SIMPLE_PINHOLE,
        camera_params=[FOCAL_PX, 320.0, 240.0],
    )
    pycolmap.set_random_seed(seed)
    scene, rng = pycolmap.synthesize_dataset(options), np.random.default_rng(seed)
    truth = registered_poses(scene)
    for image in scene.images.values():
        for row in range(image.num_points2D()):
            keypoint = image.point2D(row)
            keypoint.xy = keypoint.xy + rng.normal(0.0, NOISE_PX, 2)
    scene.cameras[CAMERA].params = [focal_factor * FOCAL_PX, 320.0, 240.0]
    return scene, truth


def adjust(scene: pycolmap.Reconstruction, refines_camera: bool) -> pycolmap.CeresBundleAdjuster:
    """Adjust a scene, in place; gives what did."""
    problem = pycolmap.BundleAdjustmentConfig()
    for image_id in scene.reg_image_ids():
        problem.add_image(image_id)
    if not refines_camera:
        problem.set_constant_cam_intrinsics(CAMERA)
    problem.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, problem, scene)
    adjuster.solve()
    return adjuster


def variance_of(scene: pycolmap.Reconstruction) -> float:
    """Mean square of the residuals in pixels, by degree of freedom."""
    squares = 0.0
    for image in scene.images.values():
        for keypoint in image.get_observation_points2D():
            projected = image.project_point(scene.points3D[keypoint.point3D_id].xyz)
            squares += float(np.sum(np.square(projected - keypoint.xy)))
    freedom = 2 * scene.compute_num_observations() - 3 * scene.num_points3D() - 6 * scene.num_reg_images() + 7
    return squares / freedom


def measure_focal_length(seed: int) -> dict[str, tuple[float, float]]:
    """NEES and seconds of the focal length's variance, by the map's own way and by the bundle adjustment."""
    scene, _ = scene_of(seed, 1.05)
    adjuster = adjust(scene, refines_camera=True)
    camera = scene.cameras[CAMERA]
    error = np.log(camera.params[0] / FOCAL_PX)
    begin = time.process_time()
    images = [scene.images[image_id] for image_id in sorted(scene.reg_image_ids())]
    own = focal_sigma(scene, pycolmap.Camera(camera.todict()), images)
    middle = time.process_time()
    covariance = known(pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), scene, adjuster))
    theirs = known(covariance.get_other_params_cov(camera.params))[0, 0] * variance_of(scene) / FOCAL_PX**2
    end = time.process_time()
    return {
        "stretches (Schur complement)": (float(error**2 / own**2), middle - begin),
        "bundle adjustment": (float(error**2 / theirs), end - middle),
    }


def measure_poses(seed: int, focal_factor: float) -> dict[str, tuple[float, float]]:
    """NEES and seconds of the poses' covariances."""
    scene, truth = scene_of(seed, focal_factor)
    adjuster = adjust(scene, refines_camera=False)
    begin = time.process_time()
    covariance = known(pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), scene, adjuster))
    middle = time.process_time()
    theirs = nees_of_adjustment(scene, truth, covariance)
    uncertainty = uncertainty_of(scene)
    end = time.process_time()
    transform(scene, align_to_references(registered_poses(scene), truth))
    errors = [(pose, pose_difference(pose, truth[name])) for name, pose in registered_poses(scene).items()]
    own = np.mean([nees(error, uncertainty.of_image(pose.rotation)) for pose, error in errors])
    return {"leave-one-out": (float(own), end - middle), "bundle adjustment": (theirs, middle - begin)}


def nees_of_adjustment(
    scene: pycolmap.Reconstruction, truth: dict[str, SE3], covariance: pycolmap.BACovariance
) -> float:
    """NEES by degree of freedom of the images beside the two that hold the gauge."""
    variance, found = variance_of(scene), []
    for image_id in sorted(scene.reg_image_ids())[2:]:
        image = scene.images[image_id]
        pose, true = SE3.from_rigid3d(image.cam_from_world()), truth[image.name].inverse
        turn = rotation_vector(pose.rotation @ true.rotation.T)
        error = np.concatenate([turn, pose.translation - true.translation])
        found.append(
            nees(error, variance * HALF_ANGLES @ known(covariance.get_cam_cov_from_world(image_id)) @ HALF_ANGLES)
        )
    return float(np.mean(found))


def nees(error: Array, covariance: Array) -> float:
    """NEES by degree of freedom of an error (6,), of its two halves, without their correlation."""
    halves = (slice(0, 3), slice(3, 6))
    return float(sum(error[half] @ np.linalg.solve(covariance[half, half], error[half]) for half in halves)) / 6.0


def known(value: Known | None) -> Known:
    """A value that is there: all that is asked for is free in the adjustment."""
    assert value is not None
    return value


def uncertainty_of(scene: pycolmap.Reconstruction) -> MapUncertainty:
    """The uncertainty that a map of the scene would have in its manifest."""
    features = {image.name: features_at(image) for image in scene.images.values()}
    descriptors = {name: np.ones(4, np.float32) for name in features}
    manifest = Manifest("scene", "synthesized", {}, metric=False, gravity_aligned=False)
    with tempfile.TemporaryDirectory() as folder:
        write_map(Path(folder), scene, features, descriptors, np.empty((0, 0), np.float32), manifest)
        map_ = open_map(Path(folder))
    return MapUncertainty(measure_map_uncertainty(map_), map_)


def features_at(image: pycolmap.Image) -> LocalFeatures:
    """Features whose descriptors do not matter."""
    keypoints: NDArray[np.float32] = np.array([point.xy for point in image.points2D], np.float32)
    count = len(keypoints)
    return LocalFeatures(keypoints, np.ones(count, np.float32), np.ones((count, 8), np.float16), (640, 480))


if __name__ == "__main__":
    main()
