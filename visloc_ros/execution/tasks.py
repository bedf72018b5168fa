"""Tasks of a large job: each is named by all that its result depends on, so that none is done twice."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from itertools import groupby
from typing import Any

from visloc_ros.core.config import Config
from visloc_ros.core.errors import SetupError
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.execution.code_key import Code, code_key, code_of
from visloc_ros.execution.content_key import content_of_weights
from visloc_ros.execution.engine import Engine, Resources
from visloc_ros.execution.shared_place import Mark, mark_place
from visloc_ros.execution.store import Artifact, ArtifactError, ArtifactStore

Function = Callable[[Mapping[str, Any], "Inputs"], Artifact]
"""Makes an artifact of a task's arguments and inputs; a function of a module, so that it pickles by its name."""

_WEIGHTS = "weights"  # the option of every model that names a file
_MOST_ROUNDS = 3  # after which inputs that are damaged again and again are an error: the disk is failing


@dataclass(frozen=True)
class Stage:
    """A kind of task, known by its name and by the code of its function (``code_key``)."""

    name: str
    function: Function
    needs: Resources = field(default_factory=Resources)

    def on_device_of(self, options: Config) -> Stage:
        """As ``Resources.on_device_of``."""
        return replace(self, needs=self.needs.on_device_of(options))


@dataclass(frozen=True)
class Task:
    """One piece of work: a stage, plain values as JSON holds them, and the keys of the artifacts that it reads.

    ``places`` are further arguments of the function: they say where inputs lie whose content ``arguments`` identify.
    """

    stage: Stage
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    places: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """The address of its artifact: a hash of the stage, the arguments and the inputs' keys."""
        return artifact_key(self.stage.name, self.stage.function, self.arguments, self.inputs)

    def do(self, store: ArtifactStore) -> Artifact:
        """Make its artifact."""
        return self.stage.function({**self.arguments, **self.places}, Inputs(store, self.inputs))

    def __str__(self) -> str:
        return f"'{self.stage.name}' of {json.dumps(self.arguments)}"


def artifact_key(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any], inputs: Sequence[str] = ()
) -> str:
    """The address of what a function makes of plain values and the artifacts with these keys, by the name of its kind.

    It is another one for other code of the function. Files that options name as weights count by their content.
    """
    parts = [name, code_key(function), _by_content(arguments), inputs]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _by_content(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with what files of weights hold in place of their paths."""
    return {name: _identified(name, value) for name, value in arguments.items()}


def _identified(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return _by_content(value)
    is_weights = name.rpartition(".")[2] == _WEIGHTS and isinstance(value, str)
    return (content_of_weights(value) if is_weights else "") or value


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
            work = partial(_run, self.store, mark, code_of(stage.function))
            for row, error in self.engine.run(work, missing, stage.needs):
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


def _run(store: ArtifactStore, mark: Mark, code: Code, task: Task) -> ArtifactError | None:
    """Do a task; gives the error of an input that cannot be read."""
    mark.check()
    _check_code(task.stage.name, task.stage.function, code)
    if store.has(task.key):  # another worker may have finished it
        return None
    try:
        artifact = task.do(store)
    except ArtifactError as error:
        return error
    store.write(task.key, artifact)
    return None


@lru_cache(maxsize=16)  # of stages that are as they should be: errors are not kept
def _check_code(name: str, function: Function, code: Code) -> None:
    """Raise SetupError if other code, or other packages, would do the tasks of a stage here than their keys say."""
    if not code.is_that_of(function):
        raise SetupError(
            f"'{name}' on {platform.node()} would run other code, or other versions of packages, than the command that "
            "has begun the work: install the same everywhere, then run the command again"
        )
