"""Maps reduced to what the search by landmarks needs, beside the whole ones: bytes, memory, and time to open.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_search.benchmarks.landmarks.reduced --data ../shared/data \\
         --markdown plugins/visloc_search/results/landmarks.md

Every map is opened in a new process, whole and reduced maps in turn; figures are medians. The networks are loaded
first, so times are the map's alone. tracemalloc counts allocations in separate processes, since it slows them down. The
whole process is its resident set, networks and libraries included.
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.places import all_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from plugins.visloc_search.benchmarks.landmarks.prepared import chosen_places, prepared_map, prepared_path
from visloc_ros.core.child_process import ChildProcess, Send
from visloc_ros.core.map_folder import read_entry
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.localization.searchable_map import open_searchable_map, reduce_map_to
from visloc_search.landmarks.config import LANDMARKS

SECTION = "Reduced maps"
HEADER = (
    "map", "searched by", "MB on disk", "opened and ready, s", "most allocated while opening, MB",
    "held by what searches, MB", "whole process, MB",
)  # fmt: skip
WAYS = {"whole, retrieval": RETRIEVAL, "whole, landmarks": LANDMARKS, "reduced, landmarks": LANDMARKS}
REDUCED = "reduced, landmarks"


def main() -> None:
    """Measure all places, and write the table."""
    arguments = parse_arguments()
    paths = list(arguments.maps or _prepared(arguments))
    places = {path.name.partition(".")[0]: measure_map(path, arguments.work, arguments.runs) for path in paths}
    report = {**provenance(), "places": places}
    body = table(HEADER, [row(name, way, one) for name, ways in places.items() for way, one in ways.items()])
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/landmarks", "maps, rooms and features")
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room, drive, painted")
    parser.add_argument("--maps", type=Path, nargs="*", help="maps that are prepared already, instead of the places")
    parser.add_argument("--runs", type=int, default=5, help="openings of each map")
    add_outputs(parser)
    return parser.parse_args()


def _prepared(arguments: argparse.Namespace) -> list[Path]:
    """Prepared maps of the places, made if missing."""
    places = chosen_places(arguments.data, arguments.work, arguments.only)
    for place in places:
        prepared_map(place, all_places(arguments.data, arguments.work), arguments.work)
    return [prepared_path(place, arguments.work) for place in places]


def measure_map(path: Path, work: Path, runs: int) -> dict[str, Figures]:
    """Figures of a prepared map in three ways: searched whole both ways, and reduced."""
    reduced = work / "reduced" / path.name.partition(".")[0]
    reduce_map_to(path, LANDMARKS, reduced, overwrite=True)
    paths = {way: reduced if way == REDUCED else path for way in WAYS}
    runs_of: dict[str, list[Figures]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way, search in WAYS.items():
            timed, counted = (
                ChildProcess(one, paths[way], search).result() for one in (timed_opening, counted_opening)
            )
            runs_of[way].append({**timed, **counted})
    return {way: {"bytes": read_entry(paths[way]).size, **medians(runs_of[way])} for way in WAYS}


def timed_opening(_: Send, path: Path, search: str) -> Figures:
    """Seconds until a map can be searched, and MB that the process then has."""
    torch.set_num_threads(1)
    extractor, matcher = make_extractor(), make_matcher()
    begin = time.monotonic()
    place = open_searchable_map(path)
    engine = AnchorEngine(place, AnchorConfig(search=search), extractor, matcher)
    ready = time.monotonic()
    process_mb = psutil.Process().memory_info().rss / 1e6
    return {
        "ready_s": ready - begin,
        "process_mb": process_mb,
        "points": len(engine.map.points),
    }


def counted_opening(_: Send, path: Path, search: str) -> Figures:
    """MB allocated at most while a map is opened, and by its search afterwards, without torch's."""
    extractor, matcher = make_extractor(), make_matcher()
    tracemalloc.start()
    engine = AnchorEngine(open_searchable_map(path), AnchorConfig(search=search), extractor, matcher)
    gc.collect()
    held, most = tracemalloc.get_traced_memory()
    return {"held_mb": held / 1e6, "most_mb": most / 1e6, "points": len(engine.map.points)}


def medians(runs: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return {name: float(np.median([one[name] for one in runs])) for name in runs[0]}


def row(name: str, way: str, figures: Figures) -> list[str]:
    """One way's line."""
    kept, search = way.split(", ")
    return [
        f"{name}, {kept}",
        search,
        f"{figures['bytes'] / 1e6:.2f}",
        f"{figures['ready_s']:.2f}",
        f"{figures['most_mb']:.1f}",
        f"{figures['held_mb']:.1f}",
        f"{figures['process_mb']:.0f}",
    ]


if __name__ == "__main__":
    main()
