"""The machine of a benchmark, its command and its memory: facts that its figures depend on."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import resource
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

from visloc_ros.execution.this_computer import num_processors

_GPU_FILES = "/proc/driver/nvidia/gpus/*/information"


def describe_machine() -> str:
    """Processors that may be used, GPUs, Python, in words."""
    gpus = ", ".join(_gpu_names()) or "no GPU"
    return f"{num_processors()} x {_processor_name()}, {gpus}, Python {platform.python_version()}"


def command_line() -> str:
    """The running command, as it can be typed again."""
    script, spec = Path(sys.argv[0]), getattr(sys.modules["__main__"], "__spec__", None)
    if script.suffix != ".py":
        program = [script.name]
    elif spec is not None:
        program = ["python", "-m", spec.name]
    else:
        program = ["python", str(script)]
    return shlex.join([*program, *sys.argv[1:]])


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return datetime.now(timezone.utc).date().isoformat()


def provenance() -> dict[str, str]:
    """Where, how and when figures were measured."""
    return {"machine": describe_machine(), "command": command_line(), "date": today()}


def peak_rss_mb() -> float:
    """Most memory in MB that this process ever held, plus that of each process it now runs beside it."""
    beside = sum(_peak_rss_mb_of(child.pid) or 0.0 for child in multiprocessing.active_children())
    return (_peak_rss_mb_of(os.getpid()) or _peak_rss_mb_by_rusage()) + beside


def _peak_rss_mb_of(pid: int | None) -> float | None:
    """Peak of one process; None where the system has no /proc."""
    match = re.search(r"^VmHWM:\s*(\d+) kB", _read(Path(f"/proc/{pid}/status")), re.MULTILINE)
    return int(match[1]) * 1.024e-3 if match else None


def _peak_rss_mb_by_rusage() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1.024e-3


def _processor_name() -> str:
    text = _read(Path("/proc/cpuinfo"))
    match = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _gpu_names() -> list[str]:
    files = sorted(Path("/").glob(_GPU_FILES[1:]))
    return [match[1].strip() for file in files if (match := re.search(r"^Model:(.+)$", _read(file), re.MULTILINE))]


def _read(path: Path) -> str:
    """Content of a file of the system, empty where this system has none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""
