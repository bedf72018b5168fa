"""Engines by name."""

from __future__ import annotations

from visloc_ros.core.errors import ConfigError
from visloc_ros.execution.engine import Engine, SerialEngine
from visloc_ros.execution.processes import ProcessEngine

SERIAL, PROCESSES, RAY = "serial", "processes", "ray"
ENGINES = (PROCESSES, RAY, SERIAL)


def open_engine(name: str = PROCESSES, address: str = "", workers: int = 0) -> Engine:
    """Open an engine, to be closed at the end.

    ``address`` is that of a Ray cluster: ``auto`` for the one of this computer, ``HOST:6379``, or ``ray://HOST:10001``;
    without one, Ray starts on this computer alone. ``workers`` work at once at most, 0 for as many as there is room
    for. Raises ConfigError, SetupError.
    """
    if address and name != RAY:
        raise ConfigError(f"an address is that of a Ray cluster: leave it out, or choose the engine '{RAY}'")
    if name == SERIAL:
        return SerialEngine()
    if name == PROCESSES:
        return ProcessEngine(workers)
    if name == RAY:
        from visloc_ros.execution.ray_engine import RayEngine

        return RayEngine(address, workers)
    raise ConfigError(f"there is no engine '{name}'; known: {', '.join(ENGINES)}")
