"""Retrieval among a million images: time, recall beside an exact search, memory.

Run: OMP_NUM_THREADS=1 python -m benchmarks.anchor.million_images --markdown results/anchor.md

Descriptors are made: eight views of each of 125,000 places, ten of which are of one street. Queries are views with
noise. The search runs in a process of its own, so that its memory can be told; of a map's file of pages
there is only what retrieval reads.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np

from benchmarks.anchor.large_maps import memory_mb
from benchmarks.made_descriptors import LENGTH, QUERY_NOISE, descriptors_of, parts, unit
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.feature_files import opened
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization.descriptor_index import DescriptorIndex
from visloc_ros.localization.listed_descriptors import exact_ranks

SECTION = "A million images"
SOUGHT = 10
HEADER = (
    "images", "opened in s", "ms a search, median", "95 % within", "of the ten most similar found", "the view first",
    "process MB, before", "with the index", "of it files", "lists.h5 MB", "learned in s",
)  # fmt: skip


def main() -> None:
    """Learn, search in another process, and write the table."""
    arguments = parse_arguments()
    if arguments.search:
        print(json.dumps(measure(arguments)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for count in arguments.images:
        learned = arguments.work / str(count) / "learned_s.json"
        if not learned.exists():
            write_descriptors(learned.parent, count)
            learned.write_text(json.dumps(measure_apart(arguments, count)["opened_s"]), encoding="utf-8")
        rows.append({**measure_apart(arguments, count), "learned_s": json.loads(learned.read_text(encoding="utf-8"))})
    report = {**provenance(), "length": LENGTH, "rows": rows}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/million_images"), help="folder for descriptors, 2 GB")
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=200, help="number of searches")
    parser.add_argument("--search", action="store_true", help="search one number of images, and print figures")
    add_outputs(parser)
    return parser.parse_args()


def write_descriptors(folder: Path, count: int) -> None:
    """A file with what retrieval reads of a map's pages."""
    folder.mkdir()
    with h5py.File(folder / "paging.h5", "w") as file:
        descriptors = file.create_dataset("global_descriptors", (count, LENGTH), np.float16)
        for rows in parts(count):
            descriptors[rows[0] : rows[-1] + 1] = descriptors_of(rows)
        file["checksum"] = np.zeros(32, np.uint8)


def measure_apart(arguments: argparse.Namespace, count: int) -> Figures:
    """Search in a process of its own."""
    options = ["--work", str(arguments.work), "--queries", str(arguments.queries), "--images", str(count)]
    command = [sys.executable, "-m", "benchmarks.anchor.million_images", "--search", *options]
    figures: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return figures


def measure(arguments: argparse.Namespace) -> Figures:
    """Open the index, search, and compare with an exact search."""
    folder = arguments.work / str(arguments.images[0])
    with opened(folder / "paging.h5") as file:
        descriptors = file.mapped("global_descriptors", np.dtype(np.float16))
    before_mb, start = memory_mb()["process_mb"], time.perf_counter()
    index = DescriptorIndex(descriptors)
    opened_s = time.perf_counter() - start
    rng = np.random.default_rng(7)
    rows = rng.integers(0, len(descriptors), arguments.queries)
    noise = unit(rng.standard_normal((len(rows), LENGTH)).astype(np.float32))
    queries = unit(descriptors_of(rows) + np.float32(QUERY_NOISE) * noise)
    index.rank(queries[0], SOUGHT)
    times, found = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(index.rank(query, SOUGHT))
        times.append(1e3 * (time.perf_counter() - start))
    memory = memory_mb()
    exact = exact_ranks(descriptors, queries, SOUGHT)
    kept = folder / "lists.h5"
    return {
        "images": len(descriptors),
        "opened_s": opened_s,
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.percentile(times, 95)),
        "recall": float(np.mean([len(set(a) & set(b)) / SOUGHT for a, b in zip(found, exact, strict=True)])),
        "first": float(np.mean([a[0] == row for a, row in zip(found, rows, strict=True)])),
        "before_mb": before_mb,
        **memory,
        "kept_mb": kept.stat().st_size / 1e6 if kept.exists() else 0.0,
    }


def as_markdown(report: Figures) -> str:
    """A row for each number of images."""
    rows = [
        (
            f"{one['images']:,}",
            f"{one['opened_s']:.1f}",
            f"{one['median_ms']:.1f}",
            f"{one['p95_ms']:.1f}",
            f"{100 * one['recall']:.1f} %",
            f"{100 * one['first']:.1f} %",
            *(f"{one[name]:.0f}" for name in ("before_mb", "process_mb", "files_mb", "kept_mb", "learned_s")),
        )
        for one in report["rows"]
    ]
    return f"{table(HEADER, rows)}\n\nDescriptors of {report['length']} numbers, in half precision on disk."


if __name__ == "__main__":
    main()
