"""How a map of 10,000 images opens and is searched, beside a map of 100: time and memory.

Run: OMP_NUM_THREADS=1 python -m benchmarks.anchor.large_maps --data ../shared/data --markdown results/anchor.md

Maps are made of the red kitchen and of copies of it that look different (``tiling``); the queries are real and found in
the first of them. Each map is opened in a process of its own, as it is opened by default and read whole. Anchors are
timed in turn over all maps, frame by frame, so that a busy machine treats them alike: with what earlier searches have
left in memory, and by a new engine that has read and prepared no features ("cold").
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.anchor.tiling import write_tiled_map
from benchmarks.anchor.timing import FrameTiming, measure_anchors
from benchmarks.places import real_places
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.map import open_map
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.sources import open_source

Made = TypeVar("Made")
SIZES = (100, 1_000, 10_000)
SECTION = "Large maps"
WAYS = ("plain", "predicted", "cold")
HEADER = (
    "images", "opened", "open s", "engine s", "tracker s", "process MB", "of it files", "at most",
    "anchor ms", "with a prediction", "cold", "found",
)  # fmt: skip


def main() -> None:
    """Make the maps that are missing, measure, and write the table."""
    arguments = parse_arguments()
    if arguments.opened is not None:
        print(json.dumps(measure_opening(arguments.opened, arguments.whole)))
        return
    maps = {size: make_map(arguments, size) for size in arguments.sizes}
    for path in maps.values():
        measure_apart(path, whole=False)  # writes what is missing of a map made elsewhere
    opening = {(size, whole): measure_apart(path, whole) for size, path in maps.items() for whole in (False, True)}
    anchors = measure_in_turn(arguments, maps)
    report = {
        **provenance(),
        "maps": [
            {"images": size, "whole": whole, **figures, "anchors": None if whole else anchors[size]}
            for (size, whole), figures in opening.items()
        ],
    }
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/large_maps"), help="folder for the maps, 1 GB")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="images of the maps")
    parser.add_argument("--every", type=int, default=8, help="of the queries, take every so many")
    add_outputs(parser)
    parser.add_argument("--opened", type=Path, help="print only what it takes to open this map")
    parser.add_argument("--whole", action="store_true", help="with --opened: read it whole")
    return parser.parse_args()


def make_map(arguments: argparse.Namespace, size: int) -> Path:
    """A map of this many images, written where it is not there yet."""
    path: Path = arguments.work / f"tiled_{size}"
    if not path.exists():
        kitchen = real_places(arguments.data)[0]
        write_tiled_map(path, kitchen.open_map(arguments.work / "maps"), size)
    return path


def measure_apart(path: Path, whole: bool) -> Figures:
    """Open a map in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.anchor.large_maps", "--opened", str(path)]
    command += ["--whole"] if whole else []
    figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def measure_opening(path: Path, whole: bool) -> Figures:
    """Seconds to open a map, to make an engine of it beside the networks, and a map tracker.

    Megabytes are those of the process with map and engine, of these the ones mapped from files, and the most of all.
    """
    opened, open_s = timed(lambda: open_map(path, whole=whole))
    extractor = make_extractor()
    matcher = make_matcher()
    engine, engine_s = timed(lambda: AnchorEngine(opened, extractor=extractor, matcher=matcher))
    memory = memory_mb()
    _, tracker_s = timed(lambda: MapTracker(engine.map))
    return {"open_s": open_s, "engine_s": engine_s, "tracker_s": tracker_s, **memory}


def timed(make: Callable[[], Made]) -> tuple[Made, float]:
    """What a function makes, and the seconds that it takes."""
    start = time.perf_counter()
    return make(), time.perf_counter() - start


def memory_mb() -> Figures:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kilobytes = {
        line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmHWM", "VmRSS", "Rss"))
    }
    return {name: kilobytes[key] / 1e3 for name, key in MEMORY.items()}


MEMORY = {"process_mb": "VmRSS", "files_mb": "RssFile", "peak_mb": "VmHWM"}


def measure_in_turn(arguments: argparse.Namespace, maps: dict[int, Path]) -> dict[int, Figures]:
    """Localize every query in every map, one after the other."""
    place = real_places(arguments.data)[0]
    source = open_source(place.query_folder, place.queries)
    first = AnchorEngine(open_map(maps[min(maps)]))

    def engine_of(size: int) -> AnchorEngine:
        return AnchorEngine(open_map(maps[size]), extractor=first.extractor, matcher=first.matcher)

    warm = {size: engine_of(size) for size in maps}
    found: dict[int, dict[str, list[FrameTiming]]] = {size: {way: [] for way in WAYS} for size in maps}
    for index, frame in enumerate(decode(source)):
        for size in maps if index % arguments.every == 0 else ():
            timings = measure_anchors(warm[size], [frame], source.ground_truth, True, 0 if index else 2)
            found[size]["plain"] += timings.plain
            found[size]["predicted"] += timings.predicted
            found[size]["cold"] += measure_anchors(engine_of(size), [frame], source.ground_truth, False, 0).plain
    return {size: summarize(timings) for size, timings in found.items()}


def summarize(timings: dict[str, list[FrameTiming]]) -> Figures:
    """Median milliseconds each way, how many images were found, and the largest error of these."""
    all_ways = [one for way in timings.values() for one in way]
    errors = [one.position_error_m for one in all_ways if one.reason is None]
    return {
        **{way: float(np.median([one.total_ms for one in of_way])) for way, of_way in timings.items()},
        "frames": len(all_ways),
        "found": len(errors),
        "largest_error_m": max(errors),
    }


def as_markdown(report: Figures) -> str:
    """A row for each map and way of opening it, and the ratios of the largest to the smallest."""
    anchors = {one["images"]: one["anchors"] for one in report["maps"] if one["anchors"]}
    least, most = anchors[min(anchors)], anchors[max(anchors)]
    ratios = ", ".join(f"{most[way] / least[way]:.2f} ({way})" for way in WAYS)
    text = f"An anchor in the map of {max(anchors)} images takes so many times as long as in that of {min(anchors)}: "
    errors = f"Largest error of a pose: {100 * max(one['largest_error_m'] for one in anchors.values()):.1f} cm."
    return f"{table(HEADER, [row(one) for one in report['maps']])}\n\n{text}{ratios}. {errors}"


def row(one: Figures) -> list[str]:
    """The cells of one map."""
    anchors = one["anchors"]
    cells = [f"{anchors[way]:.0f}" for way in WAYS] if anchors else [""] * len(WAYS)
    return [
        str(one["images"]),
        "whole" if one["whole"] else "by default",
        *(f"{one[name]:.2f}" for name in ("open_s", "engine_s", "tracker_s")),
        *(f"{one[name]:.0f}" for name in MEMORY),
        *cells,
        f"{anchors['found']} of {anchors['frames']}" if anchors else "",
    ]


if __name__ == "__main__":
    main()
