"""What the tasks need of a computer, so that no more run at once than fit."""

from __future__ import annotations

from dataclasses import replace

from visloc_ros.execution.engine import Resources
from visloc_ros.execution.tasks import Stage
from visloc_ros.execution.this_computer import gpu_names

SMALL = Resources(memory_bytes=1_000_000_000)
WITH_NETWORKS = Resources(memory_bytes=1_500_000_000)  # torch alone takes half of it
_GPU_SHARE = 0.125  # one processor reads and prepares images for an eighth of a GPU at most


def on_device(stage: Stage, device: str) -> Stage:
    """The stage, with a share of a GPU where its networks run on one: by option, or where this computer has one."""
    if device == "cuda" or (device == "auto" and gpu_names()):
        return replace(stage, needs=replace(stage.needs, gpus=_GPU_SHARE))
    return stage
