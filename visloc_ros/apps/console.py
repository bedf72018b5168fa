"""Output of the commands: tables, a live progress bar by stage, one line for an error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
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


def print_table(title: str, rows: Iterable[Row]) -> None:
    """Print label, value, target and whether it was met."""
    rows = list(rows)
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    for row in rows:
        table.add_row(Text(row.label, "bold"), row.value, row.target or "", MARKS[row.met])
    console.print(table)


def print_statistics(rows: Iterable[tuple[str, Statistics | None]]) -> None:
    """Print statistics in columns, to as many digits as evo does."""
    table = Table(box=None, padding=(0, 2))
    table.add_column("")
    for name in STATISTICS:
        table.add_column(name, justify="right")
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
