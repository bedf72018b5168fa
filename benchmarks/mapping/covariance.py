"""A map's own covariance against that of one adjustment of all, by how they fit the true errors, and what they cost.

Run: python -m benchmarks.mapping.covariance --markdown results/map_size.md

COLMAP's synthesized scenes, with noise on the keypoints: twelve images around 300 points. NEES is the squared error
over the variance, by degree of freedom. It is 1 on average where a covariance is honest, and above where it claims too
much. The focal length is that of a camera that was refined. Poses are those of map images, aligned to the truth by all;
for the adjustment of all, in its own gauge, position and rotation for themselves. A map's manifest holds what images
that are left out show, and the adjustment of the surroundings of places. The adjustment of all is scaled by the mean
square of its residuals; that of surroundings also by how many keypoints share a cell of the image.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence

import numpy as np
import pycolmap

from benchmarks.mapping.noisy_scenes import (
    CAMERA,
    FOCAL_PX,
    Noise,
    adjust,
    apart,
    known,
    map_of,
    problem_of,
    scene_of,
    together,
)
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.geometry import SE3, Array, rotation_vector
from visloc_ros.core.map import Map
from visloc_ros.core.tangent import pose_difference, turn_covariance
from visloc_ros.evaluation.machine import peak_rss_mb, provenance
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.leave_one_out import LeaveOneOut
from visloc_ros.localization.map_adjustment import adjustment_covariances
from visloc_ros.mapping.camera_knowledge import focal_sigma
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import registered_poses

HALF_ANGLES = np.diag([2.0, 2.0, 2.0, 1.0, 1.0, 1.0])  # the tangent of Ceres' quaternions
HEADER = ("covariance of", "case", "by", "NEES", "time")
COSTS_HEADER = ("images", "adjustment of", "processor time", "memory")


def main() -> None:
    """Measure all cases, and write the tables."""
    parser = new_parser(__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[50, 200, 1000], help="images, to measure what it costs"
    )
    add_outputs(parser)
    arguments = parser.parse_args()
    figures: list[Figures] = []
    seeds = range(arguments.scenes)
    figures += summarize("focal length", "refined", [measure_focal_length(seed) for seed in seeds])
    for case, (factor, noise) in CASES.items():
        figures += summarize("pose", case, [measure_poses(seed, factor, noise) for seed in seeds])
    rows = [[row["of"], row["case"], row["by"], f"{row['nees']:.2f}", f"{row['ms']:.0f} ms"] for row in figures]
    costs = measure_costs(arguments.sizes)
    report = {**provenance(), "scenes": arguments.scenes, "rows": figures, "costs": costs}
    tables = f"{table(HEADER, rows)}\n\n{table(COSTS_HEADER, costs)}"
    write_outputs(arguments, "Map covariance", report, f"{arguments.scenes} scenes.\n\n{tables}")


CASES = {
    "keypoints err apart": (1.0, apart),
    "keypoints of a cell err together": (1.0, together),
    "calibration 2 % off": (1.02, apart),
}


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


def measure_poses(seed: int, focal_factor: float, noise: Noise) -> dict[str, tuple[float, float]]:
    """NEES and seconds of the poses' covariances."""
    scene, truth = scene_of(seed, focal_factor, noise)
    adjuster = adjust(scene, refines_camera=False)
    times = [time.process_time()]
    covariance = known(pycolmap.estimate_ba_covariance(pycolmap.BACovarianceOptions(), scene, adjuster))
    times.append(time.process_time())
    of_all = nees_of_adjustment(scene, truth, covariance)
    transform(scene, align_to_references(registered_poses(scene), truth))
    map_ = map_of(scene)
    times.append(time.process_time())
    found = np.array([pair.error for pair in LeaveOneOut(map_, PoseConfig()).pairs()])
    left_out = found.T @ found / len(found)
    times.append(time.process_time())
    around = np.mean(list(adjustment_covariances(map_, PoseConfig().shared_error)), axis=0)
    times.append(time.process_time())
    errors = [(pose, pose_difference(pose, truth[name])) for name, pose in registered_poses(scene).items()]
    return {
        "leave-one-out": (mean_nees(errors, left_out), times[3] - times[2]),
        "adjustment of surroundings": (mean_nees(errors, around), times[4] - times[3]),
        "adjustment of all": (of_all, times[1] - times[0]),
    }


def mean_nees(errors: list[tuple[SE3, Array]], covariance: Array) -> float:
    """NEES by degree of freedom of poses' errors (6,) by a covariance (6, 6) in camera axes."""
    every = [error @ np.linalg.solve(turn_covariance(covariance, pose.rotation), error) / 6.0 for pose, error in errors]
    return float(np.mean(every))


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


def measure_costs(sizes: Sequence[int]) -> list[list[str]]:
    """Lines on the time and the memory of both adjustments, each in a process of its own."""
    rows = []
    for images in sizes:
        for words, adjustment in (("all", adjust_all), ("surroundings", adjust_surroundings)):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                seconds, megabytes = pool.apply(cost_of, (adjustment, images))
            rows.append([str(images), words, f"{seconds:.2f} s", f"{megabytes:.0f} MB"])
    return rows


def cost_of(adjustment: Callable[[pycolmap.Reconstruction, Map], None], images: int) -> tuple[float, float]:
    """Processor time and additional memory of an adjustment of a scene of so many images."""
    scene, _ = scene_of(0, 1.0, images=images)
    map_, before_mb, begin = map_of(scene), peak_rss_mb(), time.process_time()
    adjustment(scene, map_)
    return time.process_time() - begin, peak_rss_mb() - before_mb


def adjust_all(scene: pycolmap.Reconstruction, _: Map) -> None:
    """The covariance of all images together."""
    options = pycolmap.BACovarianceOptions(params=pycolmap.BACovarianceOptionsParams.POSES)
    known(pycolmap.estimate_ba_covariance(options, scene, problem_of(scene, refines_camera=False)))


def adjust_surroundings(_: pycolmap.Reconstruction, map_: Map) -> None:
    """The covariances that a map's manifest holds the mean of."""
    known(list(adjustment_covariances(map_, PoseConfig().shared_error)) or None)


if __name__ == "__main__":
    main()
