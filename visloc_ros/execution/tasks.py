"""Tasks of a large job: each is named by all that its result depends on, so that none is done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from visloc_ros.core.progress import Progress
from visloc_ros.execution.engine import Engine, Resources
from visloc_ros.execution.store import Artifact, ArtifactStore

Function = Callable[[Mapping[str, Any], "Inputs"], Artifact]
"""Makes an artifact of a task's arguments and inputs; a function of a module, so that it pickles by its name."""


@dataclass(frozen=True)
class Stage:
    """A kind of task; ``version`` changes whenever its results do."""

    name: str
    version: int
    function: Function
    needs: Resources = field(default_factory=Resources)


@dataclass(frozen=True)
class Task:
    """One piece of work: a stage, plain values as JSON holds them, and the keys of the artifacts that it reads."""

    stage: Stage
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """The address of its artifact: a hash of the stage, the arguments and the inputs' keys."""
        parts = [self.stage.name, self.stage.version, self.arguments, self.inputs]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Inputs(Sequence[Artifact]):
    """The artifacts that a task reads, each only when it is asked for."""

    store: ArtifactStore
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return Inputs(self.store, self.keys[row])
        return self.store.read(self.keys[row])


def run_tasks(engine: Engine, store: ArtifactStore, tasks: Sequence[Task], progress: Progress) -> list[str]:
    """Run those tasks of one stage whose artifacts are not in the store, and give the keys of all."""
    if not tasks:
        return []
    stage = tasks[0].stage
    progress.stage(stage.name, len(tasks))
    missing = [task for task in tasks if not store.has(task.key)]
    progress.advance(len(tasks) - len(missing))
    for _ in engine.run(partial(_run, store), missing, stage.needs):
        progress.advance()
    return [task.key for task in tasks]


def _run(store: ArtifactStore, task: Task) -> None:
    if not store.has(task.key):  # another worker may have finished it
        store.write(task.key, task.stage.function(task.arguments, Inputs(store, task.inputs)))
