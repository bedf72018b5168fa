"""Time of building a map of 50 images, with the network for all pairs and with nearest neighbours first.

Run: python -m benchmarks.mapping.build_time --data ../shared/data --markdown results/map_size.md

Both ways are built in turn, several times, on the same frames of redkitchen at unknown poses, with the default options;
the table shows the quickest run, with the load (of one minute) that others left when it began. Processor seconds depend
little on what else the machine does: divided by the processors they bound the time from below. Errors are those of
positions after alignment to the truth.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.places import known_truth
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.geometry import umeyama
from visloc_ros.core.map import open_map
from visloc_ros.evaluation.machine import provenance
from visloc_ros.execution.this_computer import num_processors
from visloc_ros.features.nearest_first import NearestFirst
from visloc_ros.features.types import Matcher
from visloc_ros.mapping import build_map, map_models
from visloc_ros.sources import FrameSource, SourceConfig, open_source

STAGES = ("extract", "match", "reconstruct")
HEADER = (
    "matches",
    "load",
    "time",
    "processor time",
    "shared by all processors",
    *STAGES,
    "images",
    "median error",
    "track length",
)
WAYS: dict[str, Callable[[Matcher], Matcher]] = {
    "network alone": lambda network: network,
    "nearest neighbours first": NearestFirst,
}


def main() -> None:
    """Build in turn, and write the table."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/build_time")
    parser.add_argument("--runs", type=int, default=3)
    add_outputs(parser)
    arguments = parser.parse_args()
    source = open_source(arguments.data / "7scenes_redkitchen", SourceConfig(every=10, last=499))
    runs: dict[str, list[Figures]] = {name: [] for name in WAYS}
    for _ in range(arguments.runs):
        for name, wrap in WAYS.items():
            runs[name].append(measure(source, arguments.work / name.replace(" ", "_"), wrap))
            print(name, runs[name][-1], flush=True)
    first, *others = (min(of_way, key=lambda run: run["wall"]) for of_way in runs.values())
    rows = [table_row(name, way, first) for name, way in zip(WAYS, [first, *others], strict=True)]
    write_outputs(arguments, "Time of a build", {**provenance(), "runs": runs}, table(HEADER, rows))


def measure(source: FrameSource, folder: Path, wrap: Callable[[Matcher], Matcher]) -> Figures:
    """Build once; seconds, images, and errors in metres."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with patch.object(map_models, "NearestFirst", wrap):
        load = os.getloadavg()[0]
        wall, processor = time.monotonic(), time.process_time()
        summary = build_map(source, folder, overwrite=True)
        wall, processor = time.monotonic() - wall, time.process_time() - processor
    stages = {stage: summary.seconds[stage] for stage in STAGES}
    return {
        "load": load,
        "wall": wall,
        "processor": processor,
        "shared": processor / num_processors(),
        **stages,
        "images": summary.registered_images,
        "error_m": median_error(source, folder),
        "track_length": summary.mean_track_length,
    }


def median_error(source: FrameSource, folder: Path) -> float:
    """Median error in metres of the images' positions."""
    stamps = {frame.name: frame.stamp_ns for frame in source}
    poses = {image.name: image.map_from_camera.translation for image in open_map(folder).images}
    trajectory = known_truth(source)
    true = {name: trajectory.interpolate(stamps[name]) for name in poses}
    known = {name: pose.translation for name, pose in true.items() if pose is not None}
    found, truth = np.array([poses[name] for name in known]), np.array(list(known.values()))
    return float(np.median(np.linalg.norm(umeyama(truth, found) @ found - truth, axis=1)))


def table_row(name: str, way: Figures, first: Figures) -> list[str]:
    """The quickest run of one way as text, beside its share of that of the first."""

    def seconds(key: str) -> str:
        return f"{way[key]:.1f} s ({way[key] / first[key]:.2f})"

    return [
        name,
        f"{way['load']:.0f}",
        *map(seconds, ("wall", "processor", "shared", *STAGES)),
        f"{way['images']:.0f}",
        f"{100 * way['error_m']:.2f} cm",
        f"{way['track_length']:.1f}",
    ]


if __name__ == "__main__":
    main()
