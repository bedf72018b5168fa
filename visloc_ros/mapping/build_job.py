"""A build as a job for a separate process: it takes much memory, and COLMAP sometimes aborts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from visloc_ros.core.child_process import Send
from visloc_ros.core.config import read_config
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.summary import MapSummary
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.pose_files import read_poses


@dataclass(frozen=True)
class BuildPlan:
    """The sources of a map and the options of its build: those of ``config_file`` override ``mapping``."""

    source: Path
    output: Path
    mapping: MappingConfig
    source_config: SourceConfig = field(default_factory=SourceConfig)
    config_file: Path | None = None
    reference_poses: Path | None = None
    overwrite: bool = False

    def __str__(self) -> str:
        return f"the map of {self.source}"


def build(send: Send, plan: BuildPlan) -> MapSummary:
    """Build a map; ``send`` gets the calls of a ``Progress``, as names and arguments. Raises VislocError."""
    mapping = plan.mapping if plan.config_file is None else read_config(MappingConfig, plan.config_file)
    poses = None if plan.reference_poses is None else read_poses(plan.reference_poses)
    source = open_source(plan.source, plan.source_config)
    from visloc_ros.mapping import build_map  # takes a second, after the checks of the request

    return build_map(
        source, plan.output, mapping, reference_poses=poses, overwrite=plan.overwrite, progress=SentProgress(send)
    )


class SentProgress:
    """Progress that is sent to another process."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self._send("stage", name, total)

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage."""
        self._send("advance", steps)
