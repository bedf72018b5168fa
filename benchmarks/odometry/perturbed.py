"""The ``klt`` odometry on real sequences with invisible changes: how far a figure depends on rounding.

Run: OMP_NUM_THREADS=1 python -m benchmarks.odometry.perturbed --data ../shared/data --runs 10 --processes 2 \
         --json results/odometry_perturbed.json --markdown results/odometry.md

Every run is repeatable. Run 0 uses the images as they are. Each other run adds noise of at most one grey level to every
image, and cuts one row or column off some of its sides, and off the camera. Run and frame seed the noise, so a machine
gives the same figures every time.
"""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from threadpoolctl import threadpool_limits

from benchmarks.odometry.sequences import MOVING
from benchmarks.odometry.tables import UNKNOWN, number
from benchmarks.program import add_outputs, median, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.camera import crop_and_bin
from visloc_ros.core.types import Image
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.decoding import DecodedFrame, decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_run import run_odometry, with_earlier_poses
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import FrameSource, SourceConfig, open_source

TITLE = "Repeatable runs on perturbed images"
NOTE = (
    "Run 0 is of the images as they are. Each other run adds noise of -1, 0 or +1 grey level to every pixel, and cuts\n"
    "one row or column off some sides."
)
MEDIAN_GOALS_CM = {
    "euroc_mh05": 2.4,
    "7scenes_redkitchen": 4.2,
    "kitti_06": 4.0,
    "tum_fr1_rpy_start": 4.0,
    "kitti_00_small": 240.0,
}
"""Sequences, and what the median of the ATEs of their runs is to be at most."""
WORST_GOAL = 1.3
"""What the worst ATE over the median is to be at most."""
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Crop:
    """Columns and rows cut off the sides of an image."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __str__(self) -> str:
        return ", ".join(side for side in SIDES if getattr(self, side)) or UNKNOWN

    def image(self, image: Image) -> Image:
        """What is left of an image (H, W) or (H, W, 3)."""
        height, width = image.shape[:2]
        return np.ascontiguousarray(image[self.top : height - self.bottom, self.left : width - self.right])

    def camera(self, camera: pycolmap.Camera) -> pycolmap.Camera:
        """Camera of what is left of its images."""
        width, height = camera.width - self.left - self.right, camera.height - self.top - self.bottom
        return crop_and_bin(camera, (self.left, self.top, width, height), (1, 1))


CROPS = tuple(Crop(**dict.fromkeys(sides, 1)) for count in (1, 2, 3, 4) for sides in combinations(SIDES, count))
"""One pixel off each side in turn, then off two of them, and so on."""


@dataclass(frozen=True)
class PerturbedRun:
    """What one run gave; ``ate_m`` is None where nothing could be measured."""

    sequence: str
    run: int
    crop: str
    frames: int
    tracked: int
    segments: int
    ate_m: float | None

    def __str__(self) -> str:
        tracked = f"{self.tracked} of {self.frames} tracked, {self.segments} segments"
        return f"{self.sequence}, run {self.run}: {tracked}, ATE {number(self.ate_m, 100.0)} cm"


def main() -> None:
    """Run every sequence, and write the results."""
    arguments = parse_arguments()
    runs = run_all(arguments)
    each = {name: [run for run in runs if run.sequence == name] for name in arguments.sequences}
    figures = {name: summarise(own, MEDIAN_GOALS_CM[name]) for name, own in each.items()}
    body = f"{summary_table(figures)}\n\n{NOTE}"
    print(f"\n{body}")
    write_outputs(arguments, TITLE, {**provenance(), "sequences": figures}, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    names = list(MEDIAN_GOALS_CM)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--runs", type=int, default=10, help="runs of each sequence, the unperturbed one included")
    parser.add_argument("--processes", type=int, default=2, help="runs side by side")
    parser.add_argument("--sequences", nargs="+", default=names, choices=names, help="sequences to run")
    add_outputs(parser)
    return parser.parse_args()


def run_all(arguments: argparse.Namespace) -> list[PerturbedRun]:
    """All runs in order; prints each as it comes."""
    with ProcessPoolExecutor(arguments.processes, get_context("spawn"), use_one_thread) as pool:
        tasks = [
            pool.submit(measure, arguments.data, name, run)
            for name in arguments.sequences
            for run in range(arguments.runs)
        ]
        for task in as_completed(tasks):
            print(task.result(), flush=True)
    return [task.result() for task in tasks]


def use_one_thread() -> None:
    """Leave the other processors to the other runs."""
    threadpool_limits(1)
    cv2.setNumThreads(1)


def measure(data: Path, name: str, run: int) -> PerturbedRun:
    """One repeatable run over a sequence; its figures are those of ``visloc track``."""
    source = open_source(data / name, SourceConfig(last=MOVING.get(name, -1)))
    tracked = with_earlier_poses(run_odometry(lambda: make_odometry(OdometryConfig()), perturbed(source, run)))
    errors = evaluate_odometry(tracked.results, source.ground_truth)
    coverage, ate_m = errors.coverage, errors.worst_rmse_m
    return PerturbedRun(
        name, run, str(crop_of(run)), coverage.num_frames, coverage.num_tracked, len(errors.segments), ate_m
    )


def crop_of(run: int) -> Crop:
    """What a run cuts off; run 0 cuts nothing."""
    return CROPS[(run - 1) % len(CROPS)] if run else Crop()


def perturbed(source: FrameSource, run: int) -> Iterator[DecodedFrame]:
    """The frames of a source with one camera, as a run gets them."""
    if run == 0:
        yield from decode(source)
        return
    crop = crop_of(run)
    calibration = replace(source.calibration, camera=crop.camera(source.camera))
    for index, decoded in enumerate(decode(source)):
        image = with_noise(crop.image(decoded.frame.image), run, index)
        yield replace(decoded, frame=replace(decoded.frame, image=image).with_calibration(calibration))


def with_noise(image: Image, run: int, index: int) -> Image:
    """The image with -1, 0 or 1 added to each pixel; its colours get the same, so that the grey level moves by that."""
    noise = np.random.default_rng((run, index)).integers(-1, 2, image.shape[:2], np.int8).astype(np.int16)
    noisy = image + (noise if image.ndim == 2 else noise[:, :, None])
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def summarise(runs: Sequence[PerturbedRun], median_goal_cm: float) -> Figures:
    """Figures of the runs of one sequence, run 0 first.

    A run without an ATE counts as the worst of all, and what hangs on it is None.
    """
    ates_m = [math.inf if run.ate_m is None else run.ate_m for run in runs]
    median_m, worst_m = median(ates_m), max(ates_m)
    return {
        "frames": runs[0].frames,
        "fewest_tracked": min(run.tracked for run in runs),
        "most_segments": max(run.segments for run in runs),
        "run_0_m": finite(ates_m[0]),
        "median_m": finite(median_m),
        "worst_m": finite(worst_m),
        "worst_over_median": finite(worst_m / median_m),
        "median_goal_m": median_goal_cm / 100.0,
        "median_goal_holds": 100.0 * median_m <= median_goal_cm,
        "worst_over_median_goal": WORST_GOAL,
        "worst_goal_holds": worst_m / median_m <= WORST_GOAL,
        "runs": [asdict(run) for run in runs],
    }


def finite(value: float) -> float | None:
    """The value, or None where it is no number that JSON knows."""
    return value if math.isfinite(value) else None


def summary_table(figures: Mapping[str, Figures]) -> str:
    """A row a sequence, with the goals."""
    header = [
        "sequence", "fewest tracked", "most segments", "ATE cm: run 0", "median", "worst", "worst / median",
        "goal of the median", f"goal of worst / median: {WORST_GOAL:g}",
    ]  # fmt: skip
    return table(header, [summary_row(name, own) for name, own in figures.items()])


def summary_row(name: str, figures: Figures) -> list[str]:
    """One sequence."""
    return [
        name,
        f"{figures['fewest_tracked']} of {figures['frames']}",
        str(figures["most_segments"]),
        *(number(figures[key], 100.0) for key in ("run_0_m", "median_m", "worst_m")),
        number(figures["worst_over_median"]),
        f"{100.0 * figures['median_goal_m']:g}: {holds(figures['median_goal_holds'])}",
        holds(figures["worst_goal_holds"]),
    ]


def holds(is_met: bool) -> str:
    """A goal in words."""
    return "holds" if is_met else "missed"


if __name__ == "__main__":
    main()
