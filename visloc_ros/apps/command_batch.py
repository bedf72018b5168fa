"""``visloc batch``: a map of every recording in a folder."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.options import ConfigFile, name_of
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.child_process import ChildProcess
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError, SourceError, VislocError
from visloc_ros.core.map_folder import MapEntry, list_maps
from visloc_ros.evaluation.machine import provenance
from visloc_ros.mapping import MappingConfig, MapSummary
from visloc_ros.mapping.build_job import BuildPlan, build
from visloc_ros.sources.layouts import IMAGE_SUFFIXES
from visloc_ros.sources.opening import is_bag
from visloc_ros.sources.video import VIDEO_SUFFIXES

MOST_FILES = 1000  # of a folder that are checked for an image
BUILT, SKIPPED, FAILED = "built", "there already", "failed"
COLORS = {BUILT: "green", SKIPPED: "dim", FAILED: "red"}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one recording."""

    source: Path
    state: str
    seconds: float = 0.0
    summary: MapSummary | None = None
    error: str = ""

    def figures(self) -> Mapping[str, object]:
        """Plain values for JSON."""
        done = self.summary
        counts = {} if done is None else {"registered": done.registered_images, "points": done.points}
        return {"source": str(self.source), "state": self.state, "seconds": self.seconds, "error": self.error} | counts


def batch(
    folder: Annotated[Path, typer.Argument(help="Folder with videos, folders of images and bags.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the maps, each named as its recording.")],
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Also build the maps that are there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a map of every recording in a folder, one after the other; exit code 1 if one failed.

    Existing maps are left as they are, so that the same command continues where it was interrupted. Each is built in a
    separate process, so that its memory use or crash does not affect the others.

    Example: visloc batch recordings/ --output maps/
    """
    check_outputs(folder=output)
    options, sources = read_config(MappingConfig, config), find_sources(folder, but_not=output)
    output.mkdir(parents=True, exist_ok=True)
    there = {} if force else {entry.path.name: entry for entry in list_maps(output)}
    outcomes = []
    for number, source in enumerate(sources, start=1):
        console.print(f"{source.name} ({number} of {len(sources)})", style="bold", highlight=False)
        outcomes.append(build_one(source, output / name_of(source), options, there.get(name_of(source)), force))
    if as_json:
        print_json({"recordings": [one.figures() for one in outcomes]} | provenance())
    else:
        print_outcomes(outcomes)
    if any(one.state == FAILED for one in outcomes):
        raise typer.Exit(1)


def find_sources(folder: Path, but_not: Path | None = None) -> list[Path]:
    """The recordings directly in a folder, by name; the folder of the maps may lie among them.

    Raises SourceError, and ConfigError where names are doubled.
    """
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder}")
    left_out = None if but_not is None else but_not.resolve()
    candidates = (path for path in sorted(folder.iterdir()) if path.name[0] != "." and path.resolve() != left_out)
    sources = [path for path in candidates if is_source(path)]
    if not sources:
        raise SourceError(f"{folder} holds no video, no folder of images and no bag")
    by_name = defaultdict(list)
    for source in sources:
        by_name[name_of(source)].append(source.name)
    for name, doubles in by_name.items():
        if len(doubles) > 1:
            raise ConfigError(f"{' and '.join(doubles)} would both become the map '{name}': rename one")
    return sources


def is_source(path: Path) -> bool:
    """Whether a path looks like a recording; whether it is one is seen when it is opened."""
    if path.is_dir():
        files = islice(path.rglob("*"), MOST_FILES)
        return is_bag(path) or any(file.suffix.lower() in IMAGE_SUFFIXES for file in files)
    return is_bag(path) or path.suffix.lower() in VIDEO_SUFFIXES


def build_one(source: Path, output: Path, options: MappingConfig, there: MapEntry | None, force: bool) -> Outcome:
    """Build one map, or say why not; a map there that cannot be read is replaced."""
    if there is not None and not there.problem:
        console.print(f"  {output} is there already", highlight=False)
        return Outcome(source, SKIPPED)
    plan = BuildPlan(source, output, options, overwrite=force or there is not None)
    begin_s = time.monotonic()
    try:
        with StageBars() as bars:
            summary = ChildProcess(build, plan, on_message=lambda what, *words: getattr(bars, what)(*words)).result()
    except VislocError as error:
        console.print(f"  {error}", style="red", highlight=False, soft_wrap=True)
        return Outcome(source, FAILED, time.monotonic() - begin_s, error=str(error))
    console.print(str(summary), highlight=False)
    return Outcome(source, BUILT, time.monotonic() - begin_s, summary)


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """A row for each recording."""
    numbers = ("images", "points", "seconds")
    table = make_table(("recording", "map", *numbers, ""), numbers)
    for one in outcomes:
        figures = ["", "", ""]
        if one.summary is not None:
            registered = f"{one.summary.registered_images} of {one.summary.selected_images}"
            figures = [registered, str(one.summary.points), f"{one.seconds:.0f}"]
        table.add_row(one.source.name, Text(one.state, COLORS[one.state]), *figures, one.error)
    console.print(table)
