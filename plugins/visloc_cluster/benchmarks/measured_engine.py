"""An engine whose work is measured, task by task, and whose workers may be killed."""

import json
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from visloc_ros.execution.engine import Engine, Item, Resources, Result


@dataclass(frozen=True)
class StageCost:
    """What a stage has taken: tasks, seconds of processors, seconds of the longest task, most memory of a worker."""

    tasks: int
    core_s: float
    longest_s: float
    peak_mb: float


class MeasuredEngine:
    """Runs by another engine, and notes what each task took in a file, which a build that goes on adds to.

    With ``kills``, a folder, a worker is killed at the first task of every stage.
    """

    def __init__(self, engine: Engine, notes: Path, kills: Path | None = None) -> None:
        self._engine = engine
        self._notes = notes
        self._kills = kills
        for folder in (notes.parent, kills):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        """As ``Engine.run``."""
        measured: Callable[[Item], tuple[Result, float, float, float]] = partial(_measure, function, self._kills)
        for row, (result, core_s, wall_s, peak_mb) in self._engine.run(measured, items, needs):
            with self._notes.open("a", encoding="utf-8") as file:
                file.write(json.dumps([_stage(items[row]), core_s, wall_s, peak_mb]) + "\n")
            yield row, result

    def close(self) -> None:
        """End the workers."""
        self._engine.close()


def read_costs(notes: Path) -> dict[str, StageCost]:
    """The costs of each stage, in the order in which they ran."""
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for line in notes.read_text(encoding="utf-8").splitlines():
        stage, *values = json.loads(line)
        rows[stage].append(values)
    return {
        stage: StageCost(len(own), sum(one[0] for one in own), max(one[1] for one in own), max(one[2] for one in own))
        for stage, own in rows.items()
    }


def forget_peak() -> None:
    """Let the most memory that this process held begin at what it holds now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Most memory in MB that this process held since then."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) * 1.024e-3 if found else float("nan")


def _measure(function: Callable[[Any], Any], kills: Path | None, item: Any) -> tuple[Any, float, float, float]:
    if kills is not None and not (kills / _stage(item)).exists():
        (kills / _stage(item)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    forget_peak()
    begin_s, begin_core_s = time.monotonic(), time.process_time()
    result = function(item)
    return result, time.process_time() - begin_core_s, time.monotonic() - begin_s, peak_mb()


def _stage(item: Any) -> str:
    return str(item.stage.name)
