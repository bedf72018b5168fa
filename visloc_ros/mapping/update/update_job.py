"""An update as a job for a separate process, as a build is (``mapping/build_job.py``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from visloc_ros.core.child_process import Send
from visloc_ros.execution.content_key import content_key
from visloc_ros.mapping.build_job import SentProgress
from visloc_ros.mapping.update.report import UpdateReport
from visloc_ros.sources import SourceConfig, open_source


@dataclass(frozen=True)
class UpdatePlan:
    """A map's folder, the recording to learn from, and how that is read."""

    path: Path
    recording: Path
    source_config: SourceConfig = field(default_factory=SourceConfig)


def update(send: Send, plan: UpdatePlan) -> UpdateReport:
    """Update a map; ``send`` gets the calls of a ``Progress``, as names and arguments. Raises VislocError."""
    source = open_source(plan.recording, plan.source_config)
    from visloc_ros.mapping.update.updater import update_map  # takes a second, after the checks of the request

    return update_map(plan.path, source, content=content_key(plan.recording), progress=SentProgress(send))
