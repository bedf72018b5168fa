"""Tasks run once, and again only when what they depend on has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visloc_ros.core.errors import OutputError
from visloc_ros.core.progress import SilentProgress
from visloc_ros.execution.engine import SerialEngine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Inputs, Stage, Task, run_tasks

_CALLS: list[Any] = []


def _square(arguments: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    _CALLS.append(arguments["number"])
    return {"value": np.array(arguments["number"] ** 2)}


def _add(arguments: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    return {"value": sum((one["value"] for one in inputs), np.array(0))}


SQUARE, ADD = Stage("square", 1, _square), Stage("add", 1, _add)


def run(store: ArtifactStore, tasks: list[Task]) -> list[str]:
    return run_tasks(SerialEngine(), store, tasks, SilentProgress())


def test_results_are_read_by_later_stages_and_nothing_runs_twice(tmp_path: Path) -> None:
    _CALLS.clear()
    store = ArtifactStore(str(tmp_path))
    squares = [Task(SQUARE, {"number": number}) for number in (2, 3)]
    keys = run(store, squares)
    total = run(store, [Task(ADD, inputs=tuple(keys))])
    assert store.read(total[0])["value"] == 13
    assert run(store, squares) == keys
    assert _CALLS == [2, 3]


def test_another_argument_version_or_input_is_another_task() -> None:
    first = Task(SQUARE, {"number": 2})
    others = [
        Task(SQUARE, {"number": 3}),
        Task(Stage("square", 2, _square), {"number": 2}),
        Task(SQUARE, {"number": 2}, ("a",)),
    ]
    assert len({first.key, *(other.key for other in others)}) == 4


def test_a_damaged_artifact_is_removed_and_made_again(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    task = Task(SQUARE, {"number": 5})
    run(store, [task])
    [path] = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(OutputError, match="run the same command again"):
        store.read(task.key)
    run(store, [task])
    assert store.read(task.key)["value"] == 25
