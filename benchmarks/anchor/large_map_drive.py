"""A drive through a map of 10,000 images, each anchor at a place never seen before: what is waited for, and memory.

Run: OMP_NUM_THREADS=1 python -m benchmarks.anchor.large_map_drive --data ../shared/data --markdown results/anchor.md

The map is that of ``large_maps``: copies of the red kitchen in a grid. Every step goes on to the next copy, whose
descriptors the query's are turned to, with a prediction as odometry gives it; meanwhile the next features may be read
("ahead") or not. Steps of 50 m by a camera that turns are more than a robot does: the next place is known to metres.
The third row stays in one copy: there all features are in memory.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.anchor.large_maps import make_map, memory_mb
from benchmarks.anchor.tiling import shift_of
from benchmarks.places import real_places
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.corruptions import perturbed
from visloc_ros.core import feature_pages
from visloc_ros.core.feature_files import H5Reader, LocalFeatures, read_features_of
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorEngine

SECTION = "A drive through a large map"
WAYS = {"read when needed": (1, False), "read ahead": (1, True), "all read before": (0, False)}
HEADER = (
    "features",
    "pages waited for, mean",
    "anchor ms, median",
    "95 % within",
    "found",
    "process MB before",
    "after",
)
IMAGES, FRAMES = 10_000, 8
PRIOR_DISTANCE_M, PRIOR_ANGLE_DEG = 0.05, 2.0


def main() -> None:
    """Make the map if it is missing, drive in a process for each way, and write the table."""
    arguments = parse_arguments()
    if arguments.way:
        print(json.dumps(drive(arguments, *WAYS[arguments.way])))
        return
    make_map(arguments, IMAGES)
    report = {**provenance(), "ways": {way: drive_apart(arguments, way) for way in WAYS}}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/large_maps"), help="folder for the map, 1 GB")
    parser.add_argument("--steps", type=int, default=60, help="anchors of the drive")
    parser.add_argument("--rest", type=float, default=0.5, help="seconds between two anchors")
    add_outputs(parser)
    parser.add_argument("--way", choices=WAYS, help="print only the figures of this way")
    return parser.parse_args()


def drive_apart(arguments: argparse.Namespace, way: str) -> Figures:
    """Drive in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.anchor.large_map_drive", "--way", way]
    command += [f"--{name}={getattr(arguments, name)}" for name in ("data", "work", "steps", "rest")]
    figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def drive(arguments: argparse.Namespace, copies_a_step: int, reads_ahead: bool) -> Figures:
    """Localize step by step; pages that this thread reads are waited for."""
    extractor, matcher = make_extractor(), make_matcher()
    engine = AnchorEngine(open_map(arguments.work / f"tiled_{IMAGES}"), extractor=extractor, matcher=matcher)
    if not reads_ahead:
        engine._prefetcher = None
    waited = count_reads()
    before = memory_mb()
    times, pages, errors = [], [], []
    for frame, features, truth, prior in steps(arguments, engine, copies_a_step):
        waited.clear()
        start = time.perf_counter()
        found = engine.localize(frame, prior, features)
        times.append(1e3 * (time.perf_counter() - start))
        pages.append(len(waited))
        if isinstance(found, AnchorPose):
            errors.append(float(np.linalg.norm(found.map_from_camera.translation - truth.translation)))
        time.sleep(arguments.rest)
    first = FRAMES  # until then networks and library warm up
    return {
        "pages": float(np.mean(pages[first:])),
        "median_ms": float(np.median(times[first:])),
        "within_ms": float(np.quantile(times[first:], 0.95)),
        "found": len(errors),
        "steps": len(times),
        "largest_error_m": max(errors),
        "before_mb": before["process_mb"],
        "after_mb": memory_mb()["process_mb"],
    }


def count_reads() -> list[str]:
    """The names of images whose features the main thread reads from now on."""
    names: list[str] = []

    def counted(file: H5Reader, name: str, size: int) -> LocalFeatures:
        if threading.current_thread() is threading.main_thread():
            names.append(name)
        return read_features_of(file, name, size)

    mock.patch.object(feature_pages, "read_features_of", counted).start()
    return names


def steps(
    arguments: argparse.Namespace, engine: AnchorEngine, copies_a_step: int
) -> Iterator[tuple[Frame, LocalFeatures, SE3, SE3]]:
    """A frame for each step, its features in the copy that it shows, the true pose there, and a predicted one."""
    place = real_places(arguments.data)[0]
    truth = place.truth()
    frames = place.frames()[:FRAMES]
    features = [engine.extract(frame).features for frame in frames]
    rng, copies = np.random.default_rng(0), np.random.default_rng(0)
    turn = np.eye(features[0].descriptors.shape[1], dtype=np.float32)
    rows = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]  # there and back, as a camera moves
    for step in range(arguments.steps):
        row, copy = rows[step % len(rows)], step * copies_a_step
        if copy:
            turn = np.linalg.qr(copies.normal(size=turn.shape))[0].astype(np.float32)
        pose = truth.nearest(frames[row].stamp_ns, NANOSECONDS)
        assert pose is not None
        there = SE3(pose.rotation, pose.translation + shift_of(copy))
        seen = replace(features[row], descriptors=np.asarray(features[row].descriptors, np.float32) @ turn)
        prior = perturbed(there, rng, PRIOR_DISTANCE_M, PRIOR_ANGLE_DEG)
        frame = replace(frames[row], stamp_ns=(step + 1) * NANOSECONDS, calibration=None)
        yield frame, seen, there, prior


def as_markdown(report: Figures) -> str:
    """A row for each way."""
    ways = report["ways"]
    rows = [
        [
            name,
            *(f"{one[key]:.1f}" for key in ("pages", "median_ms", "within_ms")),
            f"{one['found']} of {one['steps']}",
            *(f"{one[key]:.0f}" for key in ("before_mb", "after_mb")),
        ]
        for name, one in ways.items()
    ]
    worst = 100 * max(one["largest_error_m"] for one in ways.values())
    return f"{table(HEADER, rows)}\n\nTimes are of the search alone. Largest error of a pose: {worst:.1f} cm."


if __name__ == "__main__":
    main()
