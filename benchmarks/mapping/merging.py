"""Two maps merged, beside one map extended by the other's recording and one built of both recordings at once.

Run: python -m benchmarks.mapping.merging --data ../shared/data --markdown results/map_size.md

The first half of a walk is mapped at known poses, the second without any: it has a scale and axes of its own. What the
map of both halves at once has, true poses of the second one, neither the merged nor the extended map knows, so that
these two are to be compared. Images are searched alone; "only there" are views that the first half hardly shows. Maps
and features are kept in the work folder.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.places import FeatureCache, known_truth
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import position_error, rotation_error_deg
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import build_map, extend_map, merge_maps
from visloc_ros.sources import FrameSource, SourceConfig, open_source

WITHIN = (0.05, 5.0)
HEADER = ("map", "images", "points", "searched", "found", "within 5 cm, 5°", "position, median", "rotation, median")


@dataclass(frozen=True)
class Walk:
    """A folder of frames with truth, its halves, and what is searched for, by what it is."""

    name: str
    folder: Path
    first: SourceConfig
    second: SourceConfig
    queries: dict[str, SourceConfig]

    @property
    def whole(self) -> SourceConfig:
        """Both halves."""
        return replace(self.first, last=self.second.last)

    def open(self, config: SourceConfig) -> FrameSource:
        """Some of its frames."""
        return open_source(self.folder, config)


def main() -> None:
    """Make all maps, search them, and write the tables."""
    arguments = parse_arguments()
    walks = {walk.name: list(measure_walk(walk, arguments.work)) for walk in real_walks(arguments.data)}
    report = {**provenance(), "walks": walks}
    body = "\n\n".join(f"### {name}\n\n{table(HEADER, map(table_row, rows))}" for name, rows in walks.items())
    Console().print(body, soft_wrap=True)
    write_outputs(arguments, "Merged maps", report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/merging"), help="folder for maps and features")
    add_outputs(parser)
    return parser.parse_args()


def real_walks(data: Path) -> list[Walk]:
    """Red kitchen, whose halves look at one room, and a flight, whose halves overlap where one ends."""
    return [
        Walk(
            "redkitchen",
            data / "7scenes_redkitchen",
            SourceConfig(last=249, every=3),
            SourceConfig(first=250, last=499, every=3),
            {"later": SourceConfig(first=500, every=4), "only there": SourceConfig(first=356, last=470, every=7)},
        ),
        Walk(
            "euroc",
            data / "euroc_mh05",
            SourceConfig(last=229, every=5),
            SourceConfig(first=170, last=399, every=5),
            {"only there": SourceConfig(first=232, every=5)},
        ),
    ]


def measure_walk(walk: Walk, work: Path) -> Iterator[Figures]:
    """Figures of every map and every set of images."""
    for name, path in make_maps(walk, work / "maps").items():
        engine = AnchorEngine(open_map(path))
        cache = FeatureCache(work / "features", engine)
        for what, config in walk.queries.items():
            yield {"map": name, **size_of(engine), "searched": what, **search(walk, config, cache)}


def make_maps(walk: Walk, folder: Path) -> dict[str, Path]:
    """The maps by what they are, made where they are not there yet."""
    first, second, whole = walk.open(walk.first), walk.open(walk.second), walk.open(walk.whole)
    paths = {name: folder / f"{walk.name}_{name}" for name in ("first", "second", "merged", "extended", "whole")}
    make: dict[str, Callable[[Path], object]] = {
        "first": lambda path: build_map(first, path, reference_poses=known_truth(first)),
        "second": lambda path: build_map(second, path),
        "merged": lambda path: merge_maps([paths["first"], paths["second"]], path),
        "extended": lambda path: extend_map(paths["first"], second, path),
        "whole": lambda path: build_map(whole, path, reference_poses=known_truth(whole)),
    }
    for name, path in paths.items():
        if not path.exists():
            make[name](path)
    names = {"first": "first half alone", "merged": "merged", "extended": "extended", "whole": "both at once"}
    return {words: paths[name] for name, words in names.items()}


def size_of(engine: AnchorEngine) -> Figures:
    """What a map holds."""
    return {name: engine.map.manifest.counts[name] for name in ("images", "points")}


def search(walk: Walk, config: SourceConfig, cache: FeatureCache) -> Figures:
    """How many images are found, and how well."""
    source = walk.open(config)
    truth = known_truth(source)
    count, errors = 0, []
    for frame in source:
        true = truth.interpolate(frame.stamp_ns)
        if true is None:
            continue
        count += 1
        found = cache.engine.localize(frame, features=cache(f"{walk.name}/{frame.stamp_ns}", frame))
        if isinstance(found, AnchorPose):
            pose = found.map_from_camera
            errors.append((position_error(pose, true), rotation_error_deg(pose, true)))
    every = np.array(errors).reshape(-1, 2)
    median = np.median(every, axis=0) if len(every) else np.full(2, np.nan)
    good = int(np.sum((every <= WITHIN).all(axis=1)))
    return {"queries": count, "found": len(every), "good": good, "metres": median[0], "degrees": median[1]}


def table_row(row: Figures) -> list[str]:
    """One map and one set of images as text."""
    numbers = (
        row["map"],
        f"{row['images']}",
        f"{row['points']}",
        row["searched"],
        f"{row['found']} of {row['queries']}",
    )
    return [*numbers, f"{row['good']}", f"{100 * row['metres']:.2f} cm", f"{row['degrees']:.2f}°"]


if __name__ == "__main__":
    main()
