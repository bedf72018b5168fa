"""Memory and time of choosing the pairs of images that a large map is made of.

Run: python -m benchmarks.mapping.pairs --markdown results/map_size.md

Descriptors and poses are random; as many images as RobotCar Seasons has references. Memory is what arrays and pairs
take beyond them at most. The last column is what one matrix of all scores would take in double precision.
"""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.evaluation.machine import provenance
from visloc_ros.mapping.config import PairConfig
from visloc_ros.mapping.pairs import loop_pairs, retrieval_pairs, sequential_pairs, view_pairs

HEADER = ("pairs", "number", "time", "memory", "of all scores at once")


def main() -> None:
    """Measure, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--images", type=int, default=20_862, help="images of the map")
    parser.add_argument("--length", type=int, default=1024, help="numbers of a global descriptor")
    add_outputs(parser)
    arguments = parser.parse_args()
    rng, count, config = np.random.default_rng(0), arguments.images, PairConfig()
    descriptors = rng.normal(size=(count, arguments.length)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    poses = [
        SE3(rotation_matrix(turn), centre)
        for turn, centre in zip(rng.normal(size=(count, 3)), rng.normal(size=(count, 3)), strict=True)
    ]
    following = sequential_pairs(count, config.window)
    kinds: dict[str, Callable[[], list[tuple[int, int]]]] = {
        "alike images": lambda: retrieval_pairs(descriptors, config.retrieval, following),
        "other visits": lambda: loop_pairs(descriptors, config.loops, config.loop_gap),
        "the same views": lambda: view_pairs(poses, config.retrieval, config.max_view_angle_deg, following),
    }
    figures = {name: measure(choose) for name, choose in kinds.items()}
    matrix = f"{8e-6 * count**2:.0f} MB"
    rows = ((name, str(pairs), f"{s:.0f} s", f"{mb:.0f} MB", matrix) for name, (pairs, s, mb) in figures.items())
    report = {**provenance(), "images": count, "pairs, seconds, megabytes": figures}
    write_outputs(arguments, "Pairs of many images", report, f"{count} images.\n\n{table(HEADER, rows)}")


def measure(choose: Callable[[], list[tuple[int, int]]]) -> tuple[int, float, float]:
    """How many pairs a function chooses, in how many seconds, with how many megabytes at most."""
    tracemalloc.start()
    begin_s = time.monotonic()
    number = len(choose())
    seconds, peak = time.monotonic() - begin_s, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return number, seconds, peak / 1e6


if __name__ == "__main__":
    main()
