"""Options of commands whose work consists of parts: where these run, and how many at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Annotated

import typer

from visloc_ros.apps.options import takes_outcome
from visloc_ros.execution.engine import Engine
from visloc_ros.execution.opening import open_engine

_ENGINE_HELP = "Where the parts run: processes, serial, or a plug-in's engine; otherwise one after the other."
_ADDRESS_HELP = "Address of a cluster, for a plug-in's engine."
_WORKERS_HELP = "Parts at once at most; 0 for as many as processors and memory allow."


@dataclass(frozen=True)
class EngineChoice:
    """Where the parts of a command run; none was chosen where ``is_given`` is False."""

    name: str = ""
    address: str = ""
    workers: int = 0

    @property
    def is_given(self) -> bool:
        """Whether the parts may run at once."""
        return bool(self.name or self.address or self.workers)

    def open(self) -> closing[Engine]:
        """The engine, which ends with the block. Raises ConfigError, SetupError."""
        return closing(open_engine(self.name, self.address, self.workers))

    def open_if_given(self) -> AbstractContextManager[Engine | None]:
        """The engine that was chosen, or None: one part after the other, in this process."""
        return self.open() if self.is_given else nullcontext()


def make_engine_choice(
    engine: Annotated[str, typer.Option(help=_ENGINE_HELP, show_default=False)] = "",
    address: Annotated[str, typer.Option(help=_ADDRESS_HELP, show_default=False)] = "",
    workers: Annotated[int, typer.Option(min=0, help=_WORKERS_HELP)] = 0,
) -> EngineChoice:
    """Where the parts run, by the options on the command line."""
    return EngineChoice(engine, address, workers)


takes_engine = takes_outcome("engine", make_engine_choice)
"""Gives a command the options of ``make_engine_choice``; it receives their outcome as ``engine``."""
