"""Retrieval among a million views, with and without a rough position: time, memory, and what is found again.

Run: OMP_NUM_THREADS=1 python -m plugins.visloc_geo.benchmarks.million \\
         --markdown plugins/visloc_geo/results/geolocation.md

Descriptors are made: eight views of each of 125,000 places, 15 m apart in a square; those of a place are alike, and so
are those of one street. Queries are views with noise, whose similarity to their view is that of photos to the views
beside them. The index is built in parts and searched in a process of its own, so that its memory can be told.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.made_descriptors import LENGTH, OF_PLACE, QUERY_NOISE, descriptors_of, parts, unit
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_geo.large_index import LargeViewIndex, Near, Views
from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.evaluation.machine import provenance

SECTION = "A million views"
_FRAME = EnuFrame(55.7, 13.2)
_SPACING_M = 15.0
_SAMPLE = 100_000
_PRIORS = {"none": None, "50 m": 50.0, "500 m": 500.0, "5 km": 5000.0}


def main() -> None:
    """Build the index, search it in another process, and write the table."""
    arguments = parse_arguments()
    if arguments.search:
        print(json.dumps(measure(arguments)))
        return
    start = time.perf_counter()
    shutil.rmtree(arguments.work, ignore_errors=True)
    LargeViewIndex.learn(arguments.work, views(np.arange(min(_SAMPLE, arguments.views))).descriptors, arguments.views)
    learned_s = time.perf_counter() - start
    LargeViewIndex.add(arguments.work, map(views, parts(arguments.views)))
    built_s = time.perf_counter() - start
    peak_mb = _peak_mb()
    command = [sys.executable, "-m", "plugins.visloc_geo.benchmarks.million", "--search", *sys.argv[1:]]
    searched = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    report = {**provenance(), "learned_s": learned_s, "built_s": built_s, "built_peak_mb": peak_mb, **searched}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/million_views"), help="folder for the index")
    parser.add_argument("--views", type=int, default=1_000_000, help="number of views")
    parser.add_argument("--queries", type=int, default=200, help="number of searches of each kind")
    parser.add_argument("--search", action="store_true", help="search the index that is there, and print figures")
    add_outputs(parser)
    return parser.parse_args()


def views(rows: NDArray[np.intp]) -> Views:
    """Views by their numbers, always the same."""
    return Views(descriptors_of(rows), positions_of(rows // OF_PLACE))


def positions_of(places: NDArray[np.intp]) -> Array:
    """Latitudes and longitudes (N, 2) of places, which fill a square of 354 x 354 for a million views."""
    side = 354
    metres = np.column_stack([_SPACING_M * (places % side), _SPACING_M * (places // side), np.zeros(len(places))])
    return np.asarray(_FRAME.to_geodetic(metres)[:, :2])


def measure(arguments: argparse.Namespace) -> Figures:
    """Search for noisy views, and compare with all descriptors compared one by one."""
    before_mb = psutil.Process().memory_info().rss / 1e6
    start = time.perf_counter()
    index = LargeViewIndex.open(arguments.work)
    opened_s = time.perf_counter() - start
    rng = np.random.default_rng(7)
    rows = rng.integers(0, len(index), arguments.queries)
    noise = unit(rng.standard_normal((len(rows), LENGTH)).astype(np.float32))
    queries = unit(views(rows).descriptors + np.float32(QUERY_NOISE) * noise)
    index.search(queries[0], 20, _circle(index, rows[0], 50.0))  # builds the tree
    figures = {name: _search(index, queries, rows, radius) for name, radius in _PRIORS.items()}
    sizes = sum(one.stat().st_size for one in arguments.work.rglob("*") if one.is_file()) / 1e6
    anonymous_mb = psutil.Process().memory_full_info().uss / 1e6
    return {
        "views": len(index),
        "length": LENGTH,
        "opened_s": opened_s,
        "before_mb": before_mb,
        "memory_mb": anonymous_mb,
        "disk_mb": sizes,
        "searches": figures,
    }


def _circle(index: LargeViewIndex, row: int, radius_m: float) -> Near:
    latitude, longitude = index.positions[row].tolist()
    return Near(latitude, longitude, radius_m)


def _search(
    index: LargeViewIndex, queries: NDArray[np.float32], rows: NDArray[np.intp], radius_m: float | None
) -> Figures:
    times, first, place = [], 0, 0
    for query, row in zip(queries, rows, strict=True):
        near = None if radius_m is None else _circle(index, row, radius_m)
        start = time.perf_counter()
        found = index.search(query, 20, near)
        times.append(1e3 * (time.perf_counter() - start))
        first += int(found.rows[0] == row)
        place += int(row // OF_PLACE in set(found.rows // OF_PLACE))
    median, p95 = np.percentile(times, [50, 95])
    return {"median_ms": median, "p95_ms": p95, "view": first / len(rows), "place": place / len(rows)}


def _peak_mb() -> float:
    """Largest memory of this process until now."""
    status = Path(f"/proc/{os.getpid()}/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1e3


def as_markdown(report: Figures) -> str:
    """A row for each kind of search, and a paragraph about building and memory."""
    header = ("position known within", "median ms", "95 % within ms", "the view is first", "its place is among 20")
    rows = [
        (
            name,
            f"{one['median_ms']:.1f}",
            f"{one['p95_ms']:.1f}",
            f"{100 * one['view']:.1f} %",
            f"{100 * one['place']:.1f} %",
        )
        for name, one in report["searches"].items()
    ]
    text = (
        f"{report['views']:,} views of {report['length']} numbers: learned in {report['learned_s']:.0f} s, all built "
        f"in {report['built_s']:.0f} s with {report['built_peak_mb']:.0f} MB at most, their making included; "
        f"{report['disk_mb']:.0f} MB on disk; opened in {report['opened_s']:.2f} s; {report['memory_mb']:.0f} MB of "
        f"the searching process are its own, {report['before_mb']:.0f} MB before."
    )
    return f"{table(header, rows)}\n\n{text}"


if __name__ == "__main__":
    main()
