"""Processors, memory and GPUs of this computer that this process may use; in a container, those of the container."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import psutil

_GROUP = Path("/sys/fs/cgroup")  # of Linux: version 2, or version 1 in the folder of each resource
_LIMITS = (
    (_GROUP, "memory.max", "memory.current", "inactive_file"),
    (_GROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_GPU_DEVICES = "nvidia[0-9]*"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


def num_processors() -> int:
    """The processors that this process may use, one at least."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def overload() -> str:
    """How overloaded the processors are, in words; nothing unless more programs want one than there are."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    return f"{load:.1f} programs share the {processors} processors of this computer" if load > processors else ""


def free_memory_bytes() -> int:
    """Memory that programs can still take: of the computer, and of the container where it has a limit of its own."""
    free = int(psutil.virtual_memory().available)
    return min([free, *(left for limit in _LIMITS if (left := _left_of(*limit)) is not None)])


@cache
def gpu_names() -> tuple[str, ...]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them; CUDA itself is not asked, which takes long."""
    if (visible := os.environ.get(VISIBLE_GPUS)) is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1")
    return tuple(str(number) for number in range(len(list(Path("/dev").glob(_GPU_DEVICES)))))


def _left_of(group: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """What a group of processes may still take, its cache of files included; None without a limit."""
    try:
        most = (group / limit).read_text(encoding="ascii").strip()
        used = int((group / usage).read_text(encoding="ascii"))
        statistics = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except FileNotFoundError:
        return None
    return None if most == "max" else int(most) - used + int(statistics.get(reclaimable, 0))
