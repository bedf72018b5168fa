"""How the anchor engine scales with the map: time to open it, memory, retrieval, and a whole anchor.

Run: python -m benchmarks.anchor.scaling --data ../shared/data --json out/scaling/scaling.json

Maps of 50 to 10,000 images are made of the red kitchen and of copies of it that look different (``tiling``); the
queries are real and found in the first of them. Opening and memory are measured in a process of its own for each map;
anchors are timed in turn over all maps, frame by frame, so that a busy machine treats them alike. That part alone, of
one map, as JSON: python -m benchmarks.anchor.scaling --opened out/scaling/tiled_10000
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from rich.table import Table

from benchmarks.anchor.tiling import write_tiled_map
from benchmarks.anchor.timing import (
    AnchorTimings,
    FrameTiming,
    measure_anchors,
    summarize_timings,
)
from benchmarks.places import real_places
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.apps.console import console
from visloc_ros.core.map import open_map
from visloc_ros.evaluation.decoding import sample_frames
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.map_uncertainty import measure_map_uncertainty
from visloc_ros.map_tracking import MapTracker
from visloc_ros.sources import open_source

SIZES = (50, 100, 1_000, 10_000)
BASE_SIZE = 100
MAX_RATIO = 1.3
SECTION = "Scaling with the map"
HEADER = (
    "images", "open s", "engine s", "map MB", "process MB", "retrieval ms", "view overlap ms", "anchor ms",
    "predicted ms", "found",
)  # fmt: skip


def main() -> None:
    """Make the maps that are missing, measure, and print."""
    arguments = parse_arguments()
    if arguments.opened is not None:
        print(json.dumps(measure_opening(arguments.opened)))
        return
    maps = {size: make_map(arguments, size) for size in arguments.sizes}
    opening = {size: measure_apart(path) for size, path in maps.items()}
    timings = measure_in_turn(arguments, maps)
    report = {
        **provenance(),
        "maps": {str(size): opening[size] | summarize(timings[size]) for size in maps},
    }
    show(report)
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/scaling"), help="folder for the maps, 2 GB")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="images of the maps")
    parser.add_argument("--frames", type=int, default=10, help="queries for each map")
    add_outputs(parser)
    parser.add_argument("--opened", type=Path, help="print only what it takes to open this map")
    return parser.parse_args()


def make_map(arguments: argparse.Namespace, size: int) -> Path:
    """A map of this many images, written where it is not there yet."""
    path: Path = arguments.work / f"tiled_{size}"
    if not path.exists():
        kitchen = real_places(arguments.data)[0]
        write_tiled_map(path, kitchen.open_map(arguments.work / "maps"), size)
    return path


def measure_apart(path: Path) -> Figures:
    """Open a map in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.anchor.scaling", "--opened", str(path)]
    figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def measure_opening(path: Path) -> Figures:
    """What it takes to open a map, and to make an engine and a map tracker of it.

    Seconds, those named ``cpu`` of the processor, and the memory of this process: what the map took of it, with the
    engine, and the most of all. ``uncertainty`` is of validating the map, which only one without an estimate of its
    error in its manifest needs.
    """
    begin_mb, start = memory_mb(), time.perf_counter()
    map_ = open_map(path)
    open_s, opened_mb, start = time.perf_counter() - start, memory_mb(), time.perf_counter()
    engine_cpu_s = processor_s(lambda: AnchorEngine(map_))
    engine_s, process_mb = time.perf_counter() - start, memory_mb()
    return {
        "images": len(map_.images),
        "points": len(map_.points),
        "open_s": open_s,
        "engine_s": engine_s,
        "engine_cpu_s": engine_cpu_s,
        "uncertainty_cpu_s": processor_s(lambda: measure_map_uncertainty(map_)),
        "tracker_cpu_s": processor_s(lambda: MapTracker(map_)),
        "map_mb": opened_mb - begin_mb,
        "process_mb": process_mb,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def processor_s(work: Callable[[], object]) -> float:
    """Seconds of the processor that something takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def memory_mb() -> float:
    """Memory that this process holds."""
    return float(psutil.Process().memory_info().rss) / 1e6


def measure_in_turn(arguments: argparse.Namespace, maps: dict[int, Path]) -> dict[int, AnchorTimings]:
    """Localize every query in every map, one after the other, with and without a prediction."""
    place = real_places(arguments.data)[0]
    source = open_source(place.query_folder, place.queries)
    engines = {size: AnchorEngine(open_map(path)) for size, path in maps.items()}
    parts: dict[int, list[AnchorTimings]] = {size: [] for size in maps}
    for index, frame in enumerate(sample_frames(source, 0.0, arguments.frames)):
        for size, engine in engines.items():
            parts[size].append(measure_anchors(engine, [frame], source.ground_truth, True, 0 if index else 2))
    return {
        size: AnchorTimings(
            tuple(one for part in found for one in part.plain),
            tuple(one for part in found for one in part.predicted),
            found[0].warm_up_ms,
        )
        for size, found in parts.items()
    }


def summarize(timings: AnchorTimings) -> Figures:
    """Medians of what depends on the size of the map, and the figures of both ways."""
    return {
        "retrieval_ms": median_stage(timings.plain, "retrieval"),
        "view_overlap_ms": median_stage(timings.predicted, "retrieval"),
        "plain": summarize_timings(timings.plain),
        "predicted": summarize_timings(timings.predicted),
    }


def median_stage(timings: tuple[FrameTiming, ...], stage: str) -> float:
    """Median milliseconds of a stage."""
    return float(np.median([one.stage_ms.get(stage, 0.0) for one in timings]))


def show(report: Figures) -> None:
    """Print a line a map, and how the largest compares."""
    shown = Table(*HEADER, title=f"{report['machine']}, {report['date']}")
    for cells in rows(report):
        shown.add_row(*cells)
    console.print(shown)
    console.print(verdict(report))


def as_markdown(report: Figures) -> str:
    """The same for a results file."""
    return f"{table(HEADER, rows(report))}\n\n{verdict(report)}"


def rows(report: Figures) -> list[list[str]]:
    """A row a map, in the order of ``HEADER``."""
    return [
        [
            str(one["images"]),
            f"{one['open_s']:.2f}",
            f"{one['engine_s']:.2f}",
            f"{one['map_mb']:.0f}",
            f"{one['process_mb']:.0f}",
            f"{one['retrieval_ms']:.2f}",
            f"{one['view_overlap_ms']:.2f}",
            f"{one['plain']['total_ms']['p50']:.0f}",
            f"{one['predicted']['total_ms']['p50']:.0f}",
            f"{one['plain']['accepted']} of {one['plain']['frames']}",
        ]
        for one in report["maps"].values()
    ]


def verdict(report: Figures) -> str:
    """How long the largest map takes beside the one of 100 images."""
    sizes = sorted(map(int, report["maps"]))
    if BASE_SIZE not in sizes:
        return f"no map of {BASE_SIZE} images to compare with"
    base, largest = report["maps"][str(BASE_SIZE)], report["maps"][str(sizes[-1])]
    ratios = [largest[path]["total_ms"]["p50"] / base[path]["total_ms"]["p50"] for path in ("plain", "predicted")]
    return (
        f"{sizes[-1]} images take {ratios[0]:.2f} times as long as {BASE_SIZE}, with a prediction {ratios[1]:.2f} "
        f"times (at most {MAX_RATIO} is asked for)"
    )


if __name__ == "__main__":
    main()
