"""Output of the commands: tables, bars of progress, one line for an error, and JSON with ``--json``.

JSON is alone on standard output: words go to standard error meanwhile, as errors always do.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # a command that shows neither need not wait for them
    from visloc_ros.core.calibration import CameraCalibration
    from visloc_ros.evaluation import Row
    from visloc_ros.evaluation.metrics import Statistics

LOG_WIDTH = 140

# Where no terminal sets a width, lines are as long as they need to be for scripts and logs.
# No markup: names of files and topics may hold brackets.
console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH, markup=False)
error_console = Console(stderr=True, markup=False)

STATISTICS = ("rmse", "mean", "median", "std", "min", "max", "sse")  # those of evo

MARKS = {True: Text("met", "green"), False: Text("missed", "yellow"), None: Text()}


def make_table(columns: Iterable[str], numbers: Collection[str] = (), title: str | None = None) -> Table:
    """An empty table with these columns; those named in ``numbers`` are aligned to the right."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table


def print_table(title: str, rows: Iterable[Row]) -> None:
    """Print label, value, target and whether it was met."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for row in rows:
        table.add_row(Text(row.label, "bold"), row.value, row.target or "", MARKS[row.met])
    console.print(table)


def print_statistics(rows: Iterable[tuple[str, Statistics | None]]) -> None:
    """Print statistics in columns, to as many digits as evo does."""
    table = make_table(("", *STATISTICS), STATISTICS)
    for label, statistics in rows:
        values = (f"{getattr(statistics, name):.6f}" if statistics else "–" for name in STATISTICS)
        table.add_row(Text(label, "bold"), *values)
    console.print(table)


def print_advice(lines: Iterable[str]) -> None:
    """Print what to try where images have no pose."""
    for line in lines:
        console.print(f"without a pose, {line}", highlight=False, soft_wrap=True)


def print_camera(calibration: CameraCalibration) -> None:
    """Print which intrinsics are used, and what to do where they are only a guess."""
    console.print(f"camera: {calibration}", highlight=False, soft_wrap=True)
    if calibration.is_provisional:
        console.print("  to be accurate, give the calibration of this camera: --camera FILE", highlight=False)


class StageBars:
    """A bar for each stage of a long job; the ``Progress`` of map building."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=error_console,
        )
        self._current: TaskID | None = None

    def __enter__(self) -> StageBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps; the one before it is done."""
        self._finish_current()
        self._current = self._bars.add_task(name, total=total)

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage."""
        if self._current is not None:
            self._bars.advance(self._current, steps)

    def _finish_current(self) -> None:
        if self._current is not None:
            self._bars.stop_task(self._current)


def _put_words_aside(context: typer.Context, wanted: bool) -> bool:
    console.stderr = wanted
    context.call_on_close(lambda: setattr(console, "stderr", False))  # other commands of this process are not JSON
    return wanted


AsJson = Annotated[
    bool,
    typer.Option("--json", callback=_put_words_aside, help="Print the result as JSON; words go to standard error."),
]


def print_json(result: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result; paths become strings, and numbers that are not finite null."""
    typer.echo(json.dumps(_plain(result), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


class DownloadLine:
    """A bar of bytes for one download; the ``DownloadBar`` of fetching."""

    def __init__(self, label: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
        hidden = not error_console.is_terminal
        self._progress = Progress(*columns, console=error_console, transient=True, disable=hidden)
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> DownloadLine:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def total(self) -> int:
        """Bytes to come."""
        return int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size)

    def update(self, steps: int) -> None:
        """Count bytes that have arrived."""
        self._progress.advance(self._task, steps)
