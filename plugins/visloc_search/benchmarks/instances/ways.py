"""All installed ways of searching, each in a map that is prepared for it; maps are kept in the work folder."""

import argparse
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.places import Place
from benchmarks.results_file import Figures
from plugins.visloc_search.benchmarks.landmarks.prepared import all_processors
from testing.integrity import Outcome, judge
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.search_comparison import SearchRecord
from visloc_ros.features import make_extractor, make_matcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import search_names
from visloc_ros.localization.searchable_map import find_strategy
from visloc_search.instances.config import INSTANCES

PREPARATIONS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    INSTANCES: {INSTANCES: {}, "instances, unstyled": {"training": {"stylise": 0.0}}}
}
"""Of a way of searching that is measured with several preparations, names and options; others have the defaults."""


@dataclass(frozen=True)
class Way:
    """A way of searching maps that are prepared with ``options``, by the ``name`` of both."""

    name: str
    search: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def prepared_map(self, place: Place, work: Path) -> Map:
        """The map of a place, prepared if necessary, with all processors."""
        plain = place.open_map(work / "maps")
        strategy, path = find_strategy(self.search), work / "prepared" / self.name / place.name
        if strategy.preparation is None:
            return plain
        if not path.exists():
            shutil.copytree(work / "maps" / place.name, path)
        if not strategy.can_search(open_map(path).manifest):
            with all_processors():
                strategy.prepare([path], strategy.preparation.from_mapping(self.options), SilentProgress())
        return replace(open_map(path), name=place.name)


def all_ways() -> list[Way]:
    """The installed ways of searching with their preparations."""
    return [
        Way(name, search, options)
        for search in search_names()
        for name, options in PREPARATIONS.get(search, {search: {}}).items()
    ]


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--ways``."""
    names = [way.name for way in all_ways()]
    parser.add_argument("--ways", nargs="+", default=names, choices=names, help="ways of searching; otherwise all")


def engines_of(place: Place, work: Path, names: Collection[str]) -> dict[str, AnchorEngine]:
    """An engine for each of the named ways of searching a place; they share the networks."""
    models = make_extractor(), make_matcher()
    return {
        way.name: AnchorEngine(way.prepared_map(place, work), AnchorConfig(search=way.search), *models)
        for way in all_ways()
        if way.name in names
    }


def search_images(engines: Mapping[str, AnchorEngine], images: Iterable[tuple[Frame, SE3]]) -> dict[str, Figures]:
    """Figures of each way by the same images, which come with their true poses, and the same features of them."""
    records = {name: SearchRecord() for name in engines}
    first = next(iter(engines.values()))
    for frame, truth in images:
        query = first.extract(frame)
        for name, engine in engines.items():
            records[name].add(engine.solve(query.for_another_search()), truth)
    return {name: figures_of(record) for name, record in records.items()}


def figures_of(record: SearchRecord) -> Figures:
    """Counts, recalls and median errors, and how many poses are wrong although they were accepted."""
    judged = (judge(*one) for one in zip(record.results, record.truths, strict=True))
    return {**record.figures(), "wrong": sum(one is Outcome.WRONG for one in judged)}
