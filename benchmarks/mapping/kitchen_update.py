"""A map of one half of a real recording, updated by the other half, against the map of both at once.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.kitchen_update --data ../shared/data \\
    --markdown results/map_updates.md

Red kitchen, frames 0-249 and 250-499, either half first; every tenth frame is mapped, at true poses. The update has
images alone. Every second one of frames 500-749 is searched in all maps.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.mapping.weeks import own_bytes
from benchmarks.places import known_truth, true_pose
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import pose_errors, recall
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.update.updater import update_map
from visloc_ros.sources import SourceConfig, open_source

SECTION = "A kitchen, mapped in one half of a recording and updated by the other"
EARLY, LATE = SourceConfig(last=249, every=10), SourceConfig(first=250, last=499, every=10)
BOTH, SEARCHED = SourceConfig(last=499, every=10), SourceConfig(first=500, last=749, every=2)
ORDERS = {"0-249, then 250-499": (EARLY, LATE), "250-499, then 0-249": (LATE, EARLY)}
HEADER = (
    "map", "images", "MB", "seconds", "found", "within 5 cm, 5°", "10 cm, 5°", "25 cm, 5°", "median cm", "median °",
)  # fmt: skip
THRESHOLDS = ((0.05, 5.0), (0.10, 5.0), (0.25, 5.0))


def main() -> None:
    """Build, update and search all maps, and write the table."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/kitchen_update")
    add_outputs(parser)
    arguments = parser.parse_args()
    report = {**provenance(), "maps": list(measured(arguments))}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def measured(arguments: argparse.Namespace) -> Iterator[Figures]:
    """Figures of each map: of both halves at once, and of either half before and after its update by the other."""
    kitchen = arguments.data / "7scenes_redkitchen"
    shutil.rmtree(arguments.work, ignore_errors=True)
    at_once = arguments.work / "at_once"
    seconds = build(kitchen, BOTH, at_once)
    yield {"map": "0-499 at once", "update": "", **figures_of(at_once, kitchen, seconds)}
    for number, (name, (mapped, day)) in enumerate(ORDERS.items()):
        path = arguments.work / f"updated_{number}"
        seconds = build(kitchen, mapped, path)
        yield {"map": name.partition(",")[0], "update": "", **figures_of(path, kitchen, seconds)}
        start = time.perf_counter()
        update = update_map(path, open_source(kitchen, day))
        seconds = time.perf_counter() - start
        yield {"map": name, "update": str(update), **figures_of(path, kitchen, seconds)}


def build(folder: Path, frames: SourceConfig, path: Path) -> float:
    """Build a map at true poses; gives the seconds that it took."""
    start, source = time.perf_counter(), open_source(folder, frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    build_map(source, path, MappingConfig(), reference_poses=known_truth(source))
    return time.perf_counter() - start


def figures_of(path: Path, folder: Path, seconds: float) -> Figures:
    """Size of a map, and errors (m, degrees) of all images that are searched; NaN where they are not found."""
    engine, frames = AnchorEngine(open_map(path), most_turns=1), open_source(folder, SEARCHED)
    answers, truth = [engine.localize(frame) for frame in frames], known_truth(frames)
    poses = [answer.map_from_camera if isinstance(answer, AnchorPose) else None for answer in answers]
    errors = pose_errors(poses, [true_pose(truth, answer.stamp_ns) for answer in answers])
    return {
        "images": len(engine.map.images),
        "bytes": own_bytes(path),
        "seconds": seconds,
        "errors": np.round(errors, 4).tolist(),
    }


def as_markdown(report: Figures) -> str:
    """A row for each map, and what the updates say."""
    updates = [f"- {one['map']}: {one['update']}" for one in report["maps"] if one["update"]]
    return "\n\n".join([table(HEADER, map(_cells, report["maps"])), "\n".join(updates)])


def _cells(one: Figures) -> list[str]:
    errors = np.array(one["errors"])
    median_m, median_deg = np.nanmedian(errors, axis=0)
    return [
        one["map"],
        str(one["images"]),
        f"{1e-6 * one['bytes']:.1f}",
        f"{one['seconds']:.0f}",
        f"{np.isfinite(errors[:, 0]).sum()} of {len(errors)}",
        *(f"{within.percent:.0f} %" for within in recall(errors, len(errors), THRESHOLDS)),
        f"{100 * median_m:.1f}",
        f"{median_deg:.2f}",
    ]


if __name__ == "__main__":
    main()
