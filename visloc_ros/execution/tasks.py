"""Tasks of a large job: each is named by all that its result depends on, so that none is done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from visloc_ros.core.config import Config
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.execution.engine import Engine, Resources
from visloc_ros.execution.shared_place import Mark, mark_place
from visloc_ros.execution.store import Artifact, ArtifactError, ArtifactStore

Function = Callable[[Mapping[str, Any], "Inputs"], Artifact]
"""Makes an artifact of a task's arguments and inputs; a function of a module, so that it pickles by its name."""

_MOST_ROUNDS = 3  # after which inputs that are damaged again and again are an error: the disk is failing


@dataclass(frozen=True)
class Stage:
    """A kind of task; ``version`` changes whenever its results do."""

    name: str
    version: int
    function: Function
    needs: Resources = field(default_factory=Resources)

    def on_device_of(self, options: Config) -> Stage:
        """As ``Resources.on_device_of``."""
        return replace(self, needs=self.needs.on_device_of(options))


@dataclass(frozen=True)
class Task:
    """One piece of work: a stage, plain values as JSON holds them, and the keys of the artifacts that it reads."""

    stage: Stage
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """The address of its artifact: a hash of the stage, the arguments and the inputs' keys."""
        return artifact_key(self.stage.name, self.stage.version, self.arguments, self.inputs)

    def __str__(self) -> str:
        return f"'{self.stage.name}' of {json.dumps(self.arguments)}"


def artifact_key(name: str, version: int, arguments: Mapping[str, Any], inputs: Sequence[str] = ()) -> str:
    """The address of what is made of plain values and the artifacts with these keys, by the name of its kind."""
    parts = [name, version, arguments, inputs]
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


@dataclass(frozen=True)
class TaskRunner:
    """Runs the stages of a job one after the other, and remembers what made each artifact."""

    engine: Engine
    store: ArtifactStore
    progress: Progress = field(default_factory=SilentProgress)
    _makers: dict[str, Task] = field(default_factory=dict)

    def run(self, tasks: Sequence[Task]) -> list[str]:
        """Run those tasks of one stage whose artifacts are not in the store, and give the keys of all.

        Inputs that are found missing or damaged are made again first, where their tasks ran here. Raises as
        ``Engine.run`` does, and OutputError.
        """
        if not tasks:
            return []
        stage = tasks[0].stage
        self.progress.stage(stage.name, len(tasks))
        self._makers.update((task.key, task) for task in tasks)
        there = self.store.present(task.key for task in tasks)
        missing = list({task.key: task for task in tasks if task.key not in there}.values())
        self.progress.advance(len(tasks) - len(missing))
        if not missing:
            return [task.key for task in tasks]
        mark = mark_place(self.store.url)
        for _ in range(_MOST_ROUNDS):
            lacking: dict[str, ArtifactError] = {}
            left = []
            for row, error in self.engine.run(partial(_run, self.store, mark), missing, stage.needs):
                if error is None:
                    self.progress.advance()
                else:
                    lacking[error.key] = error
                    left.append(missing[row])
            if not left:
                return [task.key for task in tasks]
            self._make_again(lacking)
            missing = left
        raise next(iter(lacking.values()))

    def _make_again(self, lacking: Mapping[str, ArtifactError]) -> None:
        """Run the tasks of artifacts that could not be read. Raises the error of one whose task did not run here."""
        for key, error in lacking.items():
            if key not in self._makers:
                raise error
        silent = replace(self, progress=SilentProgress())
        tasks = sorted((self._makers[key] for key in lacking), key=lambda task: task.stage.name)
        for _, group in groupby(tasks, lambda task: task.stage.name):
            silent.run(list(group))


def _run(store: ArtifactStore, mark: Mark, task: Task) -> ArtifactError | None:
    """Do a task; gives the error of an input that cannot be read."""
    mark.check()
    if store.has(task.key):  # another worker may have finished it
        return None
    try:
        artifact = task.stage.function(task.arguments, Inputs(store, task.inputs))
    except ArtifactError as error:
        return error
    store.write(task.key, artifact)
    return None
