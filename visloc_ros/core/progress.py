"""How a long job reports its progress, independent of its listener."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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


_PERCENT = 100


def in_percent(progress: Progress, name: str) -> Callable[[float], None]:
    """Begin a stage of a hundred steps; the result receives the share that is done so far."""
    progress.stage(name, _PERCENT)
    done = 0

    def report(share: float) -> None:
        nonlocal done
        progress.advance(int(share * _PERCENT) - done)
        done = int(share * _PERCENT)

    return report


def track(progress: Progress, name: str, items: Iterable[Item], total: int) -> Iterator[Item]:
    """Walk through items as one stage, a step for each."""
    progress.stage(name, total)
    for item in items:
        yield item
        progress.advance()
