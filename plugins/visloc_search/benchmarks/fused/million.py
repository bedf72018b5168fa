"""A map of a million points: speed of the search, lost inliers, time to make the index.

Run: OMP_NUM_THREADS=2 python -m plugins.visloc_search.benchmarks.fused.million \\
         --markdown plugins/visloc_search/results/fused.md

Points are synthetic: places of 500 points each, with random local descriptors. Their spectrum falls as that of learned
ones does, so that few directions contain most of what distinguishes them; the reduced descriptor of the place is
random. Half of the keypoints of an image show points of one place, with noise; half show nothing. Times are clock
times, since the index uses several processors. The bytes of a process are the growth of its resident set by the index.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import psutil

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization.models import load_faiss
from visloc_search.fused.approximate_index import PointIndex, learn_index, make_index
from visloc_search.fused.config import EXACT, FLOAT16, IVF_PQ, STORAGES
from visloc_search.fused.fusion import Codebook, Float32, FusedQuery

SECTION = "A million points"
LENGTH, LAM = 128, 2.0 / 3.0
POINTS_PER_PLACE = 500
LEAST_OF_SPECTRUM = 0.1  # of the first direction's standard deviation, that of the last
LOCAL_NOISE, IMAGE_NOISE = 0.7, 0.5  # of the length of what they are added to: cosines of 0.82 and 0.89
AT_ONCE = 100_000
HEADER = (
    "storage", "index", "ms per image, median", "95 % within", "inliers of the exact search", "made in s",
    "opened in s", "MB of a process",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Image:
    """A query, and the rows of the points that its first keypoints show."""

    query: FusedQuery
    shown: np.ndarray


class Cities:
    """Points of many places, and images of them."""

    def __init__(self, points: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._spectrum = np.linspace(1.0, LEAST_OF_SPECTRUM, LENGTH).astype(np.float32)
        self.local = self._descriptors(points)
        self.places = unit(self._rng.normal(size=(max(1, points // POINTS_PER_PLACE), LENGTH)))
        self.place = np.minimum(np.arange(points) // POINTS_PER_PLACE, len(self.places) - 1)

    def codebook(self, storage: str) -> Codebook:
        """One fused descriptor for each point."""
        fused = np.empty(self.local.shape, np.float16)
        for first in range(0, len(fused), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            fused[some] = LAM * self.local[some] + (1.0 - LAM) * self.places[self.place[some]]
        return Codebook(fused) if storage == FLOAT16 else Codebook.store(fused, storage)

    def image(self, keypoints: int) -> Image:
        """An image of one place."""
        place = int(self._rng.integers(len(self.places)))
        rows = self._rng.choice(np.flatnonzero(self.place == place), keypoints // 2)
        seen = unit(self.local[rows] + LOCAL_NOISE * self._descriptors(len(rows)))
        local = np.concatenate([seen, self._descriptors(keypoints - len(rows))])
        noise = unit(self._rng.normal(size=LENGTH))
        return Image(FusedQuery(local, unit(self.places[place] + IMAGE_NOISE * noise), LAM), rows)

    def _descriptors(self, count: int) -> Float32:
        return unit(self._rng.standard_normal((count, LENGTH), np.float32) * self._spectrum)


def unit(rows: np.ndarray) -> Float32:
    """Rows of unit length."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def main() -> None:
    """Make the points, and measure."""
    arguments = parse_arguments()
    cities = Cities(arguments.points)
    images = [cities.image(arguments.keypoints) for _ in range(arguments.images)]
    rows = [row for storage in arguments.storages for row in measure(cities.codebook(storage), storage, images)]
    report = {**provenance(), "points": arguments.points, "keypoints": arguments.keypoints, "rows": rows}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--keypoints", type=int, default=1000)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=STORAGES)
    add_outputs(parser)
    return parser.parse_args()


def measure(codebook: Codebook, storage: str, images: list[Image]) -> list[Figures]:
    """Figures of the exact and of the approximate index."""
    start = time.perf_counter()
    learned = learn_index(codebook)
    made = time.perf_counter() - start
    start = time.perf_counter()
    indexes = {EXACT: make_index(EXACT, codebook), IVF_PQ: make_index(IVF_PQ, codebook, learned)}
    opened = time.perf_counter() - start
    found = {name: [search(index, image) for image in images] for name, index in indexes.items()}
    exact = sum(one[0] for one in found[EXACT])
    return [
        {
            "storage": storage,
            "index": name,
            "ms": float(np.median([one[1] for one in of_index])),
            "p95_ms": float(np.percentile([one[1] for one in of_index], 95)),
            "inlier_percent": 100.0 * sum(one[0] for one in of_index) / exact,
            "made_s": made if name == IVF_PQ else 0.0,
            "opened_s": opened,
            "process_megabytes": grown_megabytes(name, codebook, learned),
        }
        for name, of_index in found.items()
    ]


def grown_megabytes(name: str, codebook: Codebook, learned: dict[str, np.ndarray]) -> float:
    """Growth of a process's memory by an index."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        before = process.submit(resident_megabytes).result()
        return process.submit(megabytes_with, name, codebook, learned).result() - before


def resident_megabytes() -> float:
    """Memory of this process, which knows faiss from then on."""
    load_faiss("an index")
    return float(psutil.Process().memory_info().rss) / 1e6


def megabytes_with(name: str, codebook: Codebook, learned: dict[str, np.ndarray]) -> float:
    """Memory of this process with an index."""
    index = make_index(name, codebook, learned)
    learned.clear()  # as the search does: the index has it
    megabytes = resident_megabytes()
    del index
    return megabytes


def search(index: PointIndex, image: Image) -> tuple[int, float]:
    """How many keypoints are matched with their points, and milliseconds of the clock."""
    start = time.perf_counter()
    rows = index.search(image.query).rows
    milliseconds = 1e3 * (time.perf_counter() - start)
    return int((rows[: len(image.shown)] == image.shown).sum()), milliseconds


def as_markdown(report: Figures) -> str:
    """The table."""
    rows = [
        [
            one["storage"],
            one["index"],
            f"{one['ms']:.0f}",
            f"{one['p95_ms']:.0f}",
            f"{one['inlier_percent']:.1f} %",
            f"{one['made_s']:.0f}",
            f"{one['opened_s']:.1f}",
            f"{one['process_megabytes']:.0f}",
        ]
        for one in report["rows"]
    ]
    words = f"{report['points']} points, {report['keypoints']} keypoints an image, descriptors of {LENGTH} numbers."
    return f"{words}\n\n{table(HEADER, rows)}"


if __name__ == "__main__":
    main()
