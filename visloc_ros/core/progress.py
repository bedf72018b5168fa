"""How a long job reports its progress, independent of its listener."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Receives stages and steps: the command line draws a bar, the node writes log lines."""

    def stage(self, name: str, total: int) -> None:
        """A stage begins; ``total`` is its number of steps."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the stage are done. An exception raised here ends the job, and nothing is left behind."""


class SilentProgress:
    """Listens to nothing."""

    def stage(self, name: str, total: int) -> None:
        """Ignore the stage."""

    def advance(self, steps: int = 1) -> None:
        """Ignore the steps."""


def track(progress: Progress, name: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Walk through items as one stage, a step for each."""
    progress.stage(name, total)
    for item in items:
        yield item
        progress.advance()
