"""Where the parts of a large job run: one after another in this process, in local processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Resources:
    """What one call of a function needs, so that no more run at once than fit: processors, bytes of memory, GPUs."""

    processors: float = 1.0
    memory_bytes: int = 0
    gpus: float = 0.0


class Engine(Protocol):
    """Applies a function to items, several at once where it can."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        """Give the row of an item and its result, in the order in which they are done.

        The function, its items and results must be picklable. An item whose worker died is given to another one;
        an error that the function raises ends the run.
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
