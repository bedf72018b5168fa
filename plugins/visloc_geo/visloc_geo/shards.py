"""Views of a database described by workers, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from visloc_ros.core.config import Config
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.execution.engine import Engine, Resources, SerialEngine
from visloc_ros.execution.shared_place import Mark, mark_place

Describe = Callable[[Any, Path, Sequence[str]], None]
"""Describes, as options say, the views of these names in a database's folder; it pickles."""

_SHARD = 16  # views that a worker describes at a time: seconds of work
_NEEDS = Resources(processors=1.0, memory_bytes=3 << 29)  # torch, a model, an image


def in_shards(
    engine: Engine | None,
    folder: Path,
    describe: Describe,
    config: Config,
    words: str,
    names: Sequence[str],
    progress: Progress | None,
) -> int:
    """Let workers of an engine, or this process, describe views as a stage called ``words``; gives their number.

    ``config`` says how, and on which device.
    """
    engine, progress = engine or SerialEngine(), progress or SilentProgress()
    progress.stage(words, len(names))
    size = 1 if isinstance(engine, SerialEngine) else _SHARD
    shards = [names[first : first + size] for first in range(0, len(names), size)]
    needs, mark = _NEEDS.on_device_of(config), mark_place(str(folder))
    for row, _ in engine.run(partial(_do, mark, partial(describe, config), folder.absolute()), shards, needs):
        progress.advance(len(shards[row]))
    return len(names)


def _do(mark: Mark, describe: Callable[[Path, Sequence[str]], None], folder: Path, names: Sequence[str]) -> None:
    mark.check()
    describe(folder, names)
