"""A job of the server: a map to be built or updated by a recording, and why none is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from visloc_ros.core.errors import VislocError


class JobState(str, Enum):
    """The state of a job."""

    QUEUED = "queued"
    BUILDING = "building"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(str, Enum):
    """What becomes of a recording: a new map, or another version of one."""

    BUILD = "build"
    UPDATE = "update"


OPEN = (JobState.QUEUED, JobState.BUILDING)


class TooManyJobsError(VislocError):
    """Too many maps wait to be built or updated."""


class TakenNameError(VislocError):
    """There is a map of that name, or one is being built or updated."""


@dataclass(frozen=True)
class Job:
    """A map to be built or updated: ``steps`` of ``total`` of its stage are done; ``message`` is why it failed."""

    id: str
    name: str
    state: JobState
    stage: str
    steps: int
    total: int
    message: str
    created_s: float
    starts: int
    kind: JobKind = JobKind.BUILD

    @staticmethod
    def of(row: tuple[Any, ...]) -> Job:
        """A row of the table."""
        return replace(Job(row[0], row[1], JobState(row[2]), *row[3:-1]), kind=JobKind(row[-1]))
