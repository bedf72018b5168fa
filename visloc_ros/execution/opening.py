"""Engines by name: those of this computer, and those that plug-ins add.

An entry point of the group ``visloc_ros.engines`` names what makes an engine, given an address and the most workers at
once.
"""

from __future__ import annotations

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugins import HINT, installed_plugins
from visloc_ros.execution.engine import Engine, SerialEngine
from visloc_ros.execution.processes import ProcessEngine

SERIAL, PROCESSES = "serial", "processes"
_GROUP = "visloc_ros.engines"


def engine_names() -> list[str]:
    """The engines that are installed."""
    return [PROCESSES, SERIAL, *installed_plugins(_GROUP)]


def open_engine(name: str = "", address: str = "", workers: int = 0) -> Engine:
    """Open an engine, to be closed at the end.

    ``address`` is that of a cluster, for the engine of a plug-in. Without a name it is that of a plug-in if there is an
    address, and processes of this computer if there is none. ``workers`` work at once at most, 0 for as many as there
    is room for. Raises ConfigError, SetupError.
    """
    clusters = installed_plugins(_GROUP)
    name = name or (next(iter(clusters), "") if address else PROCESSES)
    if name in clusters:
        engine: Engine = clusters[name](address, workers)
        return engine
    if address:
        raise ConfigError("engines of this computer have no address: leave it out, or install a plug-in's engine")
    if name == SERIAL:
        return SerialEngine()
    if name == PROCESSES:
        return ProcessEngine(workers)
    raise ConfigError(f"there is no engine '{name}'; known: {', '.join(engine_names())}; {HINT}")
