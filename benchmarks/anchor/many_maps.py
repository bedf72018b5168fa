"""Many maps at once: is the right one told, at which price, and what of two places that look the same?

Run: python -m benchmarks.anchor.many_maps --data ../shared/data --markdown results/landmarks.md

Four maps, which one recogniser knows, are searched at once for queries of each: a kitchen, a rendered gallery, a
simulated room, and one with the same pictures on other walls. Then ever more simulated rooms are, each prepared alone,
to see how the time grows, by landmarks and by retrieval, which searches every map. Last, one map holds two rooms that
look the same, with and without a position that is roughly known, and with texts, of which each room has its own. Maps,
rendered rooms and features are kept in the work folder; training takes minutes each time.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.anchor.growing_number import search_growing
from benchmarks.anchor.map_trials import prepared_together
from benchmarks.anchor.several_places import search_four
from benchmarks.anchor.twin_rooms import hints_for, search_twins, texts_of, twin_places, twins_map
from benchmarks.places import FeatureCache
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.map import open_map
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.localization.strategies.landmarks.training_config import TrainingConfig

SECTION = "Many maps"
FOUR, GROWING, TWINS = PARTS = ("four", "growing", "twins")
SIZES = (1, 2, 5, 10, 20, 50)
FOUR_HEADER = ("queries of", "tried", "poses", "in its map", "in another", "right", "rejections by reason")
GROWING_HEADER = (
    "maps", "queries", "by landmarks: right", "in a wrong map", "ms without features", "by retrieval: right",
    "in a wrong map", "ms without features",
)  # fmt: skip
TWINS_HEADER = ("search", "known beside the image", "queries", "right", "wrong", "rejections by reason")


def main() -> None:
    """Run what was asked for, print it, and write it."""
    arguments = parse_arguments()
    measures: dict[str, Callable[[], list[Figures]]] = {
        FOUR: lambda: search_four(arguments.data, arguments.work, arguments.minutes, arguments.every),
        GROWING: lambda: search_growing(arguments.work, arguments.sizes, arguments.minutes),
        TWINS: lambda: search_both_ways(arguments.work, arguments.minutes),
    }
    report = {**provenance(), **{part: measures[part]() for part in PARTS if part in arguments.only}}
    body = as_markdown(report)
    print(body)
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/many_maps"), help="folder for maps, rooms and features")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--every", type=int, default=1, help="take every n-th query of the four places only")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of maps")
    minutes = TrainingConfig().max_minutes
    parser.add_argument("--minutes", type=float, default=minutes, help="longest training of a recogniser")
    add_outputs(parser)
    return parser.parse_args()


def search_both_ways(work: Path, minutes: float) -> list[Figures]:
    """Two rooms that look the same, by landmarks and by retrieval."""
    places = twin_places(work)
    path = twins_map(work)
    (map_,) = prepared_together([path], minutes, texts_of(open_map(path)))
    rows: list[Figures] = []
    for search in (RETRIEVAL, LANDMARKS):
        engine = AnchorEngine(map_, AnchorConfig(search=search))
        cache = FeatureCache(work / "features", engine)
        rows += ({"search": search, **row} for row in search_twins(places, engine, cache, hints_for(search)))
    return rows


def as_markdown(report: Figures) -> str:
    """The tables of the parts that were run."""
    parts: dict[str, Callable[[Sequence[Figures]], str]] = {
        FOUR: four_table,
        GROWING: growing_table,
        TWINS: twins_table,
    }
    return "\n\n".join(draw(report[part]) for part, draw in parts.items() if part in report)


def four_table(rows: Sequence[Figures]) -> str:
    """In which map queries of each place were found."""
    keys = ("queries", "poses", "in_right_map", "in_wrong_map", "right")
    cells = [(row["place"], *(str(row[key]) for key in keys), in_words(row["reasons"])) for row in rows]
    totals = {key: sum(row[key] for row in rows) for key in keys}
    words = (
        f"{totals['in_right_map']} of {totals['poses']} poses in the right map, {totals['in_wrong_map']} in another, "
        f"of {totals['queries']} queries"
    )
    return f"### Four maps at once\n\n{words}.\n\n{table(FOUR_HEADER, cells)}"


def growing_table(rows: Sequence[Figures]) -> str:
    """Outcomes and times by the number of maps."""
    cells = [(str(row["maps"]), str(row["landmarks"]["queries"]), *growing_cells(row)) for row in rows]
    first, last = (row["landmarks"]["median_ms"] for row in (rows[0], rows[-1]))
    words = (
        f"With {rows[-1]['maps']} maps, a search by landmarks takes {last / first:.2f} times as long as with the "
        f"fewest. Their networks had been trained for {rows[-1]['trained_s']:.0f} s in the median when they were best"
    )
    return f"### Ever more maps\n\n{words}.\n\n{table(GROWING_HEADER, cells)}"


def growing_cells(row: Figures) -> list[str]:
    """The cells of both ways of searching."""
    both = (row["landmarks"], row["retrieval"])
    return [cell for one in both for cell in (str(one["right"]), str(one["in_wrong_map"]), f"{one['median_ms']:.1f}")]


def twins_table(rows: Sequence[Figures]) -> str:
    """What became of queries of two rooms that look the same."""
    cells = [
        (
            row["search"],
            row["hint"],
            *(str(row[key]) for key in ("queries", "right", "wrong")),
            in_words(row["reasons"]),
        )
        for row in rows
    ]
    return f"### Two rooms that look the same, 50 m apart in one map\n\n{table(TWINS_HEADER, cells)}"


def in_words(reasons: dict[str, int]) -> str:
    """How often each reason was given."""
    return ", ".join(f"{reason} {count}" for reason, count in reasons.items())


if __name__ == "__main__":
    main()
