"""What matching fewer map images would save: the bound of any rule that chooses their number by the query.

Run: OMP_NUM_THREADS=1 python -m benchmarks.anchor.fewer_images --data ../shared/data --markdown results/anchor.md

AIR-HLoc (Liu et al., arXiv 2403.18281) matches fewer images where the most similar one is very similar. Whatever the
rule, it cannot save more than always matching the least number. Each query is searched with each number in turn, with
the same features, so that a busy machine treats the numbers alike.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.places import Place, real_places, simulated_room
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine

SECTION = "Fewer images to match"
NUMBERS = (5, 3, 2, 1)
HEADER = ("place", "images matched at most", "found", "features ms", "search ms, mean", "of the whole anchor saved")


def main() -> None:
    """Measure all places, and write the table."""
    arguments = parse_arguments()
    places = [*real_places(arguments.data), simulated_room(arguments.work)]
    report = {**provenance(), "rows": [row for place in places for row in measure(place, arguments)]}
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/fewer_images"), help="folder for the maps")
    parser.add_argument("--queries", type=int, default=40, help="searches of each place")
    add_outputs(parser)
    return parser.parse_args()


def measure(place: Place, arguments: argparse.Namespace) -> list[Figures]:
    """Search a place with each number of images."""
    map_, frames = place.open_map(arguments.work / "maps"), place.frames()
    first = AnchorEngine(map_, AnchorConfig(top_k=NUMBERS[0]))
    engines = {
        number: AnchorEngine(map_, AnchorConfig(top_k=number), first.extractor, first.matcher) for number in NUMBERS
    }
    found, spent_ms, features_ms = dict.fromkeys(NUMBERS, 0), dict.fromkeys(NUMBERS, 0.0), 0.0
    chosen = np.unique(np.linspace(0, len(frames) - 1, arguments.queries).round().astype(int)).tolist()
    first.localize(frames[0])  # models are prepared in the first search
    for frame in (frames[row] for row in chosen):
        query = first.extract(frame)
        features_ms += sum(query.watch.stage_ms.values())
        for number, engine in engines.items():
            start = time.perf_counter()
            found[number] += isinstance(engine.localize(frame, features=query.features), AnchorPose)
            spent_ms[number] += 1e3 * (time.perf_counter() - start)
    count = len(chosen)
    return [
        {
            "place": place.name,
            "number": number,
            "found": found[number],
            "queries": count,
            "features_ms": features_ms / count,
            "search_ms": spent_ms[number] / count,
            "saved": (spent_ms[NUMBERS[0]] - spent_ms[number]) / (features_ms + spent_ms[NUMBERS[0]]),
        }
        for number in NUMBERS
    ]


def as_markdown(report: Figures) -> str:
    """A row for each place and number, and the most that is saved."""
    most = max(one["saved"] for one in report["rows"])
    rows = [
        (
            one["place"],
            str(one["number"]),
            f"{one['found']} of {one['queries']}",
            f"{one['features_ms']:.0f}",
            f"{one['search_ms']:.0f}",
            f"{100 * one['saved']:.0f} %",
        )
        for one in report["rows"]
    ]
    text = (
        f"No rule for the number of images saves more than {100 * most:.0f} % here: the features of the query take "
        "most of the time. Rivals are sought among the same images, so their number stays as it is."
    )
    return f"{table(HEADER, rows)}\n\n{text}"


if __name__ == "__main__":
    main()
