"""``visloc batch``: a map of every recording in a folder."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from visloc_ros.apps.console import AsJson, StageBars, console, make_table, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.options import ConfigFile, name_of
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.atomic_write import restore
from visloc_ros.core.child_process import ChildProcess
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError, SourceError, VislocError
from visloc_ros.core.map_folder import read_entry
from visloc_ros.evaluation.machine import provenance
from visloc_ros.execution.engine import LostItemError, Resources
from visloc_ros.execution.shared_place import Mark, mark_place
from visloc_ros.mapping import MappingConfig, MapSummary
from visloc_ros.mapping.build_job import BuildPlan, build
from visloc_ros.sources.layouts import IMAGE_SUFFIXES
from visloc_ros.sources.opening import is_bag
from visloc_ros.sources.video import VIDEO_SUFFIXES

MOST_FILES = 1000  # of a folder that are checked for an image
BUILT, SKIPPED, FAILED = "built", "there already", "failed"
COLORS = {BUILT: "green", SKIPPED: "dim", FAILED: "red"}


NEEDS = Resources(processors=1.0, memory_bytes=2 << 30)
"""Of one build: 100 VGA images took 1.65 GB, most of it models and libraries."""


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


@takes_engine
def batch(
    folder: Annotated[Path, typer.Argument(help="Folder with videos, folders of images and bags.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the maps, each named as its recording.")],
    engine: EngineChoice,
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Also build the maps that are there already.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build a map of every recording in a folder; exit code 1 if one failed.

    Existing maps are left as they are, so that the same command continues where it was interrupted; one that cannot be
    read, too, but counts as failed. Each is built in a
    separate process, so that its memory use or crash does not affect the others: one after the other, or several at
    once with --workers or --engine.

    Example: visloc batch recordings/ --output maps/ --workers 4
    """
    check_outputs(folder=output)
    options, sources = read_config(MappingConfig, config), find_sources(folder, but_not=output)
    output.mkdir(parents=True, exist_ok=True)
    plans = [BuildPlan(source, output / name_of(source), options, overwrite=force) for source in sources]
    kept = {plan.source: keep(plan) for plan in plans if not force and is_taken(plan.output)}
    left = [plan for plan in plans if plan.source not in kept]
    built = build_at_once(left, engine, output) if engine.is_given else build_in_order(left)
    outcomes = [(kept | built)[source] for source in sources]
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


def is_taken(path: Path) -> bool:
    """Whether anything is at a map's place but an empty folder, also what cannot be looked at."""
    restore(path)
    try:
        return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))
    except OSError:
        return True


def keep(plan: BuildPlan) -> Outcome:
    """Leave what is at a map's place as it is; the build has failed unless that is a map which can be read."""
    problem = read_entry(plan.output).problem
    if not problem:
        console.print(f"{plan.output} is there already", highlight=False)
        return Outcome(plan.source, SKIPPED)
    remedy = "see to that, move it away, or let --force build it again"
    outcome = Outcome(plan.source, FAILED, error=f"{plan.output} is kept, but cannot be used ({problem}): {remedy}")
    print_outcome(outcome)
    return outcome


def build_in_order(plans: Sequence[BuildPlan]) -> dict[Path, Outcome]:
    """Build one map after the other, with a bar for each stage."""
    outcomes = {}
    for number, plan in enumerate(plans, start=1):
        console.print(f"{plan.source.name} ({number} of {len(plans)})", style="bold", highlight=False)
        with StageBars() as bars:
            outcomes[plan.source] = attempt(plan, partial(build_in_child, bars))
        print_outcome(outcomes[plan.source])
    return outcomes


def build_in_child(bars: StageBars, plan: BuildPlan) -> MapSummary:
    """Build a map in a separate process, which reports its progress."""
    return ChildProcess(build, plan, on_message=lambda what, *words: getattr(bars, what)(*words)).result()


def build_at_once(plans: Sequence[BuildPlan], choice: EngineChoice, output: Path) -> dict[Path, Outcome]:
    """Build several maps at once; one whose workers die is left out, and the others go on."""
    outcomes: dict[Path, Outcome] = {}
    function = partial(build_in_worker, mark_place(str(output)))
    needs = NEEDS.on_device_of(plans[0].mapping) if plans else NEEDS
    with choice.open() as engine, StageBars() as bars:
        bars.stage("maps", len(plans))
        while left := [plan for plan in plans if plan.source not in outcomes]:
            try:
                for row, outcome in engine.run(function, [in_worker(plan) for plan in left], needs):
                    outcomes[left[row].source] = replace(outcome, source=left[row].source)
                    bars.advance()
                    print_outcome(outcome)
            except LostItemError as error:
                outcomes[left[error.row].source] = Outcome(left[error.row].source, FAILED, error=str(error))
                bars.advance()
                print_outcome(outcomes[left[error.row].source])
    return outcomes


def in_worker(plan: BuildPlan) -> BuildPlan:
    """The plan for a process in another folder, which has one processor."""
    given = plan.mapping
    reconstruction = replace(given.reconstruction, threads=given.reconstruction.threads or 1)
    mapping = replace(given, workers=given.workers or 1, reconstruction=reconstruction)
    return replace(plan, source=plan.source.absolute(), output=plan.output.absolute(), mapping=mapping)


def build_in_worker(mark: Mark, plan: BuildPlan) -> Outcome:
    """Build one map, where the folder of the maps is in reach."""
    mark.check()
    return attempt(plan, partial(build, lambda *_: None))


def attempt(plan: BuildPlan, build_map: Callable[[BuildPlan], MapSummary]) -> Outcome:
    """The outcome of a build, also where it fails."""
    begin_s = time.monotonic()
    try:
        summary = build_map(plan)
    except VislocError as error:
        return Outcome(plan.source, FAILED, time.monotonic() - begin_s, error=str(error))
    return Outcome(plan.source, BUILT, time.monotonic() - begin_s, summary)


def print_outcome(outcome: Outcome) -> None:
    """A line for a map, or for why there is none."""
    if outcome.error:
        console.print(f"{outcome.source.name}: {outcome.error}", style="red", highlight=False, soft_wrap=True)
    else:
        console.print(f"{outcome.source.name}: {outcome.summary}", highlight=False)


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
