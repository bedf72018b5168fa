"""Tasks run once, and again only when what they depend on has changed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, OutputError, SetupError
from visloc_ros.execution.engine import Item, Resources, Result, SerialEngine
from visloc_ros.execution.shared_place import mark_place
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Inputs, Stage, Task, TaskRunner

_CALLS: list[Any] = []


def _square(arguments: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    _CALLS.append(arguments["number"])
    return {"value": np.array(arguments["number"] ** 2)}


def _add(arguments: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    return {"value": sum((one["value"] for one in inputs), np.array(0))}


def flipped(content: bytes) -> bytes:
    middle = content.index(b"NUMPY") + 130  # in the values
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


SQUARE, ADD = Stage("square", _square), Stage("add", _add)


def run(store: ArtifactStore, tasks: list[Task]) -> list[str]:
    return TaskRunner(SerialEngine(), store).run(tasks)


def test_results_are_read_by_later_stages_and_nothing_runs_twice(tmp_path: Path) -> None:
    _CALLS.clear()
    store = ArtifactStore(str(tmp_path))
    squares = [Task(SQUARE, {"number": number}) for number in (2, 3)]
    keys = run(store, squares)
    total = run(store, [Task(ADD, inputs=tuple(keys))])
    assert store.read(total[0])["value"] == 13
    assert run(store, squares) == keys
    assert _CALLS == [2, 3]


def test_another_argument_function_or_input_is_another_task() -> None:
    first = Task(SQUARE, {"number": 2})
    others = [
        Task(SQUARE, {"number": 3}),
        Task(Stage("square", _add), {"number": 2}),
        Task(SQUARE, {"number": 2}, ("a",)),
    ]
    assert len({first.key, *(other.key for other in others)}) == 4


def test_weights_are_known_by_their_content_inputs_by_what_the_arguments_say(tmp_path: Path) -> None:
    weights, same = tmp_path / "weights.pth", tmp_path / "moved.pth"
    weights.write_bytes(b"weights")
    same.write_bytes(b"weights")

    def key(path: Path, **places: str) -> str:
        return Task(SQUARE, {"options": {"features": {"weights": str(path)}}}, places=places).key

    def flat_key() -> str:
        return Task(SQUARE, {"features.weights": str(weights)}).key

    first, first_flat = key(weights), flat_key()
    assert first == key(same) == key(weights, recording="elsewhere")
    state = weights.stat()
    weights.write_bytes(b"retrain")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert key(weights) != first
    assert flat_key() != first_flat
    assert key(same) == first


def test_a_function_is_told_where_its_inputs_lie(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    [key] = run(store, [Task(SQUARE, {"which": "two"}, places={"number": 2})])
    assert store.read(key)["value"] == 4
    assert run(store, [Task(SQUARE, {"which": "two"}, places={"number": 3})]) == [key]


class ElsewhereEngine(SerialEngine):
    """A worker whose code is that of another stage."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        others = [replace(item, stage=replace(item.stage, function=_add)) for item in items]  # type: ignore[type-var,attr-defined]
        return super().run(function, others, needs)


def test_a_worker_with_other_code_refuses_a_task(tmp_path: Path) -> None:
    store, task = ArtifactStore(str(tmp_path)), Task(SQUARE, {"number": 2})
    with pytest.raises(SetupError, match="would run other code, or other versions of packages"):
        TaskRunner(ElsewhereEngine(), store).run([task])
    assert not store.has(task.key)


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda content: b"", flipped, lambda content: b"PK"])
def test_a_damaged_artifact_is_removed_and_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = ArtifactStore(str(tmp_path))
    task = Task(SQUARE, {"number": 5})
    run(store, [task])
    [path] = tmp_path.rglob("*.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(OutputError, match="run the same command again"):
        store.read(task.key)
    run(store, [task])
    assert store.read(task.key)["value"] == 25


def test_inputs_that_are_damaged_or_gone_are_made_again_while_tasks_run(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    runner = TaskRunner(SerialEngine(), store)
    squares = runner.run([Task(SQUARE, {"number": number}) for number in (2, 3, 4)])
    sums = runner.run([Task(ADD, {"which": "all"}, tuple(squares))])
    files = {path.stem: path for path in tmp_path.rglob("*.npz")}
    files[squares[1]].write_bytes(b"")
    files[squares[2]].unlink()
    files[sums[0]].unlink()  # its inputs are found missing in the stage after the next
    total = runner.run([Task(ADD, {"which": "twice"}, (*sums, *sums))])
    assert store.read(total[0])["value"] == 2 * (4 + 9 + 16)


def test_an_input_that_nobody_here_can_make_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is missing"):
        run(ArtifactStore(str(tmp_path)), [Task(ADD, inputs=("0" * 64,))])


def test_what_another_job_ran_is_not_made_again(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    squares = run(store, [Task(SQUARE, {"number": 2})])
    next(tmp_path.rglob("*.npz")).unlink()
    with pytest.raises(OutputError, match="is missing"):
        run(store, [Task(ADD, inputs=tuple(squares))])


def test_equal_tasks_run_once(tmp_path: Path) -> None:
    _CALLS.clear()
    one, two = run(ArtifactStore(str(tmp_path)), [Task(SQUARE, {"number": 6}), Task(SQUARE, {"number": 6})])
    assert one == two
    assert _CALLS == [6]


def test_an_object_store_serves_as_a_folder_does() -> None:
    store = ArtifactStore("memory://bucket/job")
    _CALLS.clear()
    squares = [Task(SQUARE, {"number": number}) for number in (7, 8)]
    keys = run(store, squares)
    assert run(store, squares) == keys
    assert [int(store.read(key)["value"]) for key in keys] == [49, 64]
    assert _CALLS == [7, 8]
    assert store.present([*keys, "0" * 64]) == set(keys)


def test_a_write_that_fails_leaves_nothing_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(str(tmp_path))
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*No space left"):
        store.write("ab" * 32, {"value": np.zeros(3)})
    assert not store.has("ab" * 32)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def refuse(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("url", "error"), [("nonsense://x", ConfigError), ("dropbox://x", SetupError)])
def test_addresses_that_cannot_be_reached_are_errors(url: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=url):
        ArtifactStore(url).has("ab")


def test_a_worker_that_sees_another_folder_says_so(tmp_path: Path) -> None:
    mark = mark_place(str(tmp_path))
    mark.check()
    assert mark_place(str(tmp_path)) == mark
    with pytest.raises(SetupError, match="all computers mount at the same path"):
        replace(mark, name=f"{mark.name}0").check()
    with pytest.raises(SetupError, match="does not see"):
        replace(mark, url=str(tmp_path / "elsewhere")).check()
