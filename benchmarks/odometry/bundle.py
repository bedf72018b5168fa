"""Solvers of the sliding window side by side: this package's, Ceres (through pycolmap), GTSAM where it is installed.

Run: python -m benchmarks.odometry.bundle --data ../shared/data --markdown results/odometry.md

The windows are those that ``klt`` adjusted on real sequences. All solvers minimise the same error (Huber on pixels)
with the same fixed keyframes, on one thread; times are processor times of a window, with and without the way from
arrays to the solver's own objects and back. Costs are compared with the lowest that any of them reached.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pycolmap

from benchmarks.program import add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.odometry.klt import KltConfig, KltOdometry
from visloc_ros.odometry.klt import odometry as klt_module
from visloc_ros.odometry.klt.adjustment import InlineAdjuster, WindowSnapshot
from visloc_ros.odometry.klt.bundle import HUBER_PX, BundleProblem, adjust
from visloc_ros.sources import SourceConfig, open_source

SEQUENCES = {"euroc_mh05": SourceConfig(), "7scenes_redkitchen": SourceConfig(last=299)}
CONFIGS = {"default": KltConfig(), "large": KltConfig(window_keyframes=25, max_features=1000)}
TOLERANCE = 1e-4  # gain of an iteration, as a share of the cost, at which every solver stops
MOST_ITERATIONS = 50
HEADER = ("windows", "keyframes free + fixed", "points", "observations", "solver", "solve", "with conversion", "cost")


@dataclass
class Solution:
    """An adjusted problem and the processor seconds that it took, alone and with the conversion."""

    adjusted: BundleProblem
    solve_s: float
    total_s: float


Solver = Callable[[BundleProblem], Solution]


class Recorder(InlineAdjuster):
    """Keeps every window that it adjusts."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[BundleProblem] = []

    def submit(self, snapshot: WindowSnapshot) -> None:
        """Adjust now, and keep the problem."""
        self.problems.append(snapshot.problem)
        super().submit(snapshot)


def main() -> None:
    """Record the windows, solve them with every solver, and write the table."""
    arguments = parse_arguments()
    rows = []
    for sequence, source in SEQUENCES.items():
        for name, config in CONFIGS.items():
            problems = record(arguments.data / sequence, source, config)
            chosen = problems[len(problems) // 4 :: max(1, len(problems) // arguments.windows)]
            rows += measure(f"{sequence}, {name}", [with_one_focal_length(problem) for problem in chosen])
    report = {**provenance(), "rows": rows}
    body = table(HEADER, (table_row(row) for row in rows))
    print(body)
    write_outputs(arguments, "Bundle adjustment beside Ceres", report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--windows", type=int, default=12, help="windows of each sequence that are solved")
    add_outputs(parser)
    return parser.parse_args()


def record(folder: Path, source: SourceConfig, config: KltConfig) -> list[BundleProblem]:
    """All windows of a sequence, as they were before adjustment."""
    recorder = Recorder()
    with patch.object(klt_module, "InlineAdjuster", lambda: recorder):
        odometry = KltOdometry(config)
    for frame in open_source(folder, source):
        odometry.track(frame)
    return recorder.problems


def with_one_focal_length(problem: BundleProblem) -> BundleProblem:
    """The problem with the same pixels per ray everywhere, which is what the others can express."""
    focal_px = float(np.median(problem.pixels_per_ray))
    return replace(problem, pixels_per_ray=np.full(len(problem.rays), focal_px))


def measure(windows: str, problems: list[BundleProblem]) -> list[Figures]:
    """One row a solver."""
    solutions = {name: [solve(problem) for problem in problems] for name, solve in solvers().items()}
    costs = np.array([[cost(solution.adjusted) for solution in column] for column in solutions.values()])
    size = {
        "windows": windows,
        "free": median(int(np.count_nonzero(~problem.is_fixed)) for problem in problems),
        "fixed": median(int(np.count_nonzero(problem.is_fixed)) for problem in problems),
        "points": median(len(problem.points) for problem in problems),
        "observations": median(len(problem.rays) for problem in problems),
    }
    return [
        size
        | {
            "solver": name,
            "solve_ms": 1e3 * median(solution.solve_s for solution in column),
            "total_ms": 1e3 * median(solution.total_s for solution in column),
            "cost": median(costs[row] / costs.min(axis=0)),
        }
        for row, (name, column) in enumerate(solutions.items())
    ]


def table_row(row: Figures) -> tuple[str, ...]:
    """Cells of one row."""
    return (
        row["windows"],
        f"{row['free']:.0f} + {row['fixed']:.0f}",
        f"{row['points']:.0f}",
        f"{row['observations']:.0f}",
        row["solver"],
        f"{row['solve_ms']:.0f} ms",
        f"{row['total_ms']:.0f} ms",
        f"{row['cost']:.4f}",
    )


def cost(problem: BundleProblem) -> float:
    """The error that all solvers minimise."""
    errors = np.linalg.norm(problem.residuals(), axis=1)
    return float(np.where(errors <= HUBER_PX, 0.5 * errors**2, HUBER_PX * (errors - 0.5 * HUBER_PX)).sum())


def solvers() -> dict[str, Solver]:
    """Those that are installed."""
    found: dict[str, Solver] = {"this package": solve_here, "Ceres (pycolmap)": solve_with_ceres}
    if importlib.util.find_spec("gtsam"):
        found["GTSAM"] = solve_with_gtsam
    return found


def solve_here(problem: BundleProblem) -> Solution:
    """Solve with this package."""
    begin = time.process_time()
    adjusted = adjust(problem, MOST_ITERATIONS)
    seconds = time.process_time() - begin
    return Solution(adjusted, seconds, seconds)


def solve_with_ceres(problem: BundleProblem) -> Solution:
    """Solve with Ceres as COLMAP uses it."""
    begin = time.process_time()
    reconstruction = as_reconstruction(problem)
    config = pycolmap.BundleAdjustmentConfig()
    for row, is_fixed in enumerate(problem.is_fixed.tolist()):
        config.add_image(row + 1)
        if is_fixed:
            config.set_constant_rig_from_world_pose(row + 1)
    adjuster = pycolmap.create_default_bundle_adjuster(ceres_options(), config, reconstruction)
    before = time.process_time()
    adjuster.solve()
    after = time.process_time()
    poses = [reconstruction.image(row + 1).cam_from_world() for row in range(len(problem.rotations))]
    adjusted = replace(
        problem,
        rotations=np.array([pose.rotation.matrix() for pose in poses]),
        translations=np.array([pose.translation for pose in poses]),
        points=np.array([reconstruction.point3D(row + 1).xyz for row in range(len(problem.points))]),
    )
    return Solution(adjusted, after - before, time.process_time() - begin)


def as_reconstruction(problem: BundleProblem) -> pycolmap.Reconstruction:
    """The window as a COLMAP model: camera 1, images and frames from 1, points from 1."""
    reconstruction, focal_px = pycolmap.Reconstruction(), float(problem.pixels_per_ray[0])
    camera = pycolmap.Camera(camera_id=1, model="SIMPLE_PINHOLE", width=1, height=1, params=[focal_px, 0.0, 0.0])
    reconstruction.add_camera_with_trivial_rig(camera)
    begins = np.searchsorted(problem.camera_rows, np.arange(len(problem.rotations) + 1))
    for row in range(len(problem.rotations)):
        pixels = focal_px * problem.rays[begins[row] : begins[row + 1]]
        image = pycolmap.Image(name=str(row), keypoints=pixels, camera_id=1, image_id=row + 1)
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(problem.rotations[row]), problem.translations[row])
        reconstruction.add_image_with_trivial_frame(image, pose)
    tracks = [pycolmap.Track() for _ in problem.points]
    places = np.arange(len(problem.rays)) - begins[problem.camera_rows]
    for camera_row, point_row, place in zip(problem.camera_rows, problem.point_rows, places, strict=True):
        tracks[point_row].add_element(int(camera_row) + 1, int(place))
    for point, track in zip(problem.points, tracks, strict=True):
        reconstruction.add_point3D(point, track)
    return reconstruction


def ceres_options() -> pycolmap.BundleAdjustmentOptions:
    """The same loss and the same rule to stop; intrinsics stay."""
    options = pycolmap.BundleAdjustmentOptions(
        refine_focal_length=False, refine_extra_params=False, refine_principal_point=False, print_summary=False
    )
    options.ceres.loss_function_type = pycolmap.LossFunctionType.HUBER
    options.ceres.loss_function_scale = HUBER_PX
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.function_tolerance = TOLERANCE
    options.ceres.solver_options.max_num_iterations = MOST_ITERATIONS
    return options


def solve_with_gtsam(problem: BundleProblem) -> Solution:
    """Solve with GTSAM's Levenberg-Marquardt."""
    import gtsam
    from gtsam.symbol_shorthand import L, X

    begin = time.process_time()
    focal_px = float(problem.pixels_per_ray[0])
    calibration = gtsam.Cal3_S2(focal_px, focal_px, 0.0, 0.0, 0.0)
    unit = gtsam.noiseModel.Isotropic.Sigma(2, 1.0)
    noise = gtsam.noiseModel.Robust.Create(gtsam.noiseModel.mEstimator.Huber.Create(HUBER_PX), unit)
    graph, start = gtsam.NonlinearFactorGraph(), gtsam.Values()
    for row, (rotation, translation) in enumerate(zip(problem.rotations, problem.translations, strict=True)):
        pose = gtsam.Pose3(gtsam.Rot3(rotation.T), -rotation.T @ translation)
        start.insert(X(row), pose)
        if problem.is_fixed[row]:
            graph.add(gtsam.NonlinearEqualityPose3(X(row), pose))
    for row, point in enumerate(problem.points):
        start.insert(L(row), point)
    pixels = focal_px * problem.rays
    for pixel, camera_row, point_row in zip(pixels, problem.camera_rows, problem.point_rows, strict=True):
        factor = gtsam.GenericProjectionFactorCal3_S2(pixel, noise, X(camera_row), L(point_row), calibration)
        graph.add(factor)
    parameters = gtsam.LevenbergMarquardtParams()
    parameters.setRelativeErrorTol(TOLERANCE)
    parameters.setMaxIterations(MOST_ITERATIONS)
    optimizer = gtsam.LevenbergMarquardtOptimizer(graph, start, parameters)
    before = time.process_time()
    found = optimizer.optimize()
    after = time.process_time()
    poses = [found.atPose3(X(row)).inverse() for row in range(len(problem.rotations))]
    adjusted = replace(
        problem,
        rotations=np.array([pose.rotation().matrix() for pose in poses]),
        translations=np.array([pose.translation() for pose in poses]),
        points=np.array([found.atPoint3(L(row)) for row in range(len(problem.points))]),
    )
    return Solution(adjusted, after - before, time.process_time() - begin)


if __name__ == "__main__":
    main()
