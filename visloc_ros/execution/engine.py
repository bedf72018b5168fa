"""Where the parts of a large job run: one after another in this process, in local processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from visloc_ros.core.child_process import DeathError
from visloc_ros.core.config import Config
from visloc_ros.execution.this_computer import gpu_names

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_RETRIES = 3
"""How often an item whose worker died is given to another one: a worker may die by chance, four hardly do."""

_GPU_SHARE = 0.125  # one processor reads and prepares images for an eighth of a GPU at most


@dataclass(frozen=True)
class Resources:
    """What one call of a function needs, so that no more run at once than fit: processors, bytes of memory, GPUs."""

    processors: float = 1.0
    memory_bytes: int = 0
    gpus: float = 0.0

    def on_device_of(self, options: Config) -> Resources:
        """With a share of a GPU where ``device`` is "cuda" anywhere among the options, or "auto" where there is one."""
        devices = _devices(options.to_mapping())
        return replace(self, gpus=_GPU_SHARE) if "cuda" in devices or ("auto" in devices and gpu_names()) else self


def _devices(values: Mapping[str, Any]) -> set[Any]:
    nested = [_devices(value) for value in values.values() if isinstance(value, Mapping)]
    return {values.get("device")}.union(*nested)


class Engine(Protocol):
    """Applies a function to items, several at once where it can."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        """Give the row of an item and its result, in the order in which they are done.

        The function, its items and results must be picklable. An item whose worker died is given to another one, up
        to ``MOST_RETRIES`` times, then LostItemError ends the run. So does an error of the function: a VislocError is
        raised here as it is, of others RuntimeError with the trace. Workers are at rest once the iterator is closed.
        """

    def close(self) -> None:
        """End the workers."""


class SerialEngine:
    """One item after another, in this process."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        """Results in the order of the items."""
        return ((row, function(item)) for row, item in enumerate(items))

    def close(self) -> None:
        """There is nothing to end."""


class LostItemError(DeathError):
    """All workers that were given an item have died; ``row`` is its row."""

    def __init__(self, words: str, row: int = -1) -> None:
        super().__init__(words)
        self.row = row

    @classmethod
    def of(cls, row: int, item: Any, why: str) -> LostItemError:
        """The error for an item, with why its last worker died."""
        workers = f"{MOST_RETRIES + 1} workers died at {item}, the last one: {why}"
        return cls(f"{workers}; where memory was short, run fewer at once", row)
