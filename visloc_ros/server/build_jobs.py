"""Builds maps from uploaded videos, one after the other; the jobs survive a restart of the server."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from visloc_ros.core.child_process import ChildProcess, Limits
from visloc_ros.core.errors import ConfigError, OutputError, SetupError, VislocError
from visloc_ros.core.files import exists
from visloc_ros.mapping.build_job import BuildPlan, build
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.sources.video import VIDEO_SUFFIXES

logger = logging.getLogger(__name__)

FOLDER = ".visloc_jobs"  # below the maps: on the same disk, and no map
DATABASE = "jobs.sqlite"
MOST_OPEN = 8
MOST_STARTS = 2  # of a build that crashes the server: a third one would, too
MOST_PROCESSOR_S = 24 * 3600
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
COLUMNS = "id, name, state, stage, steps, total, message, created_s, starts"
TABLE = (
    "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, name TEXT, state TEXT, stage TEXT, steps INTEGER, "
    "total INTEGER, message TEXT, created_s REAL, starts INTEGER)"
)


class JobState(str, Enum):
    """The state of a job."""

    QUEUED = "queued"
    BUILDING = "building"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (JobState.QUEUED, JobState.BUILDING)


class TooManyJobsError(VislocError):
    """Too many maps wait to be built."""


class TakenNameError(VislocError):
    """There is a map of that name, or one is being built."""


@dataclass(frozen=True)
class Job:
    """A map to be built: ``steps`` of ``total`` of its stage are done; ``message`` is why it failed."""

    id: str
    name: str
    state: JobState
    stage: str
    steps: int
    total: int
    message: str
    created_s: float
    starts: int

    @staticmethod
    def of(row: tuple[Any, ...]) -> Job:
        """A row of the table."""
        return Job(row[0], row[1], JobState(row[2]), *row[3:])


class BuildJobs:
    """The jobs of one server, done in a thread; builds run in separate processes."""

    def __init__(self, maps: Path) -> None:
        self._maps, self.folder = maps, maps / FOLDER
        self._changed = threading.Condition(threading.RLock())
        self._running: ChildProcess[Any] | None = None
        self._running_id, self._is_closed = "", False
        self._thread: threading.Thread | None = None
        if self.folder.is_dir():  # of an earlier server
            self._open()

    def _open(self) -> None:
        """Begin to work, with the jobs left by an earlier server. Raises OutputError."""
        with self._changed:
            if self._thread is not None:
                return
            try:
                self.folder.mkdir(exist_ok=True)
            except OSError as error:
                raise OutputError(f"this server cannot write to its maps: {error.strerror}") from error
            with self._database() as database:
                database.execute(TABLE)
                again = "UPDATE jobs SET state = ? WHERE state = ?"  # the server ended while they were built
                database.execute(again, (JobState.QUEUED.value, JobState.BUILDING.value))
            self._remove_strays()
            self._thread = threading.Thread(target=self._work, name="visloc builds", daemon=True)
            self._thread.start()

    def list(self) -> list[Job]:
        """All jobs, the newest first."""
        if not self.folder.is_dir():  # there never was a job
            return []
        with self._database() as database:
            rows = database.execute(f"SELECT {COLUMNS} FROM jobs ORDER BY created_s DESC").fetchall()
        return [Job.of(row) for row in rows]

    def get(self, job_id: str) -> Job | None:
        """One job."""
        return next((job for job in self.list() if job.id == job_id), None)

    def check(self, name: str, file_name: str) -> str:
        """The suffix of a video that may be uploaded as this map.

        Raises ConfigError for an invalid name, or a file that is no video, TakenNameError, TooManyJobsError, and
        OutputError where the server cannot write.
        """
        if not NAME.fullmatch(name):
            raise ConfigError("a map's name has up to 64 letters, digits, '-' and '_', and begins with no sign")
        suffix = Path(file_name).suffix.lower()
        if suffix not in VIDEO_SUFFIXES:
            raise ConfigError(f"'{suffix}' is no kind of video that is known here: {', '.join(VIDEO_SUFFIXES)}")
        self._open()
        waiting = [job for job in self.list() if job.state in OPEN]
        if exists(self._maps / name) or any(job.name == name for job in waiting):
            raise TakenNameError(f"there is a map '{name}' already: choose another name, or delete it")
        if len(waiting) >= MOST_OPEN:
            raise TooManyJobsError(f"{len(waiting)} maps wait to be built: try again later")
        return suffix

    def new_upload(self, suffix: str) -> Path:
        """Path to write the next video to: its folder is the job's, named by its id."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        return folder / f"video{suffix}"

    def drop(self, upload: Path) -> None:
        """Remove an upload that becomes no job."""
        shutil.rmtree(upload.parent, ignore_errors=True)

    def add(self, upload: Path, name: str) -> Job:
        """Build a map of an upload when its turn comes. Raises as ``check``, for requests that came meanwhile."""
        job = Job(upload.parent.name, name, JobState.QUEUED, "", 0, 0, "", time.time(), 0)
        with self._changed:
            self.check(name, upload.name)
            with self._database() as database:
                values = (job.id, job.name, job.state.value, job.stage, 0, 0, job.message, job.created_s, 0)
                database.execute(f"INSERT INTO jobs ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            self._changed.notify_all()
        return job

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job, also during its build; one that has ended stays as it is."""
        with self._changed:
            job = self.get(job_id)
            if job is None or job.state not in OPEN:
                return job
            self._set(job_id, state=JobState.CANCELLED.value, message="it was cancelled")
            if self._running is not None and self._running_id == job_id:
                self._running.end()
            elif job.state is JobState.QUEUED:
                shutil.rmtree(self.folder / job_id, ignore_errors=True)
        return self.get(job_id)

    def close(self) -> None:
        """Stop; the next server starts a running build again."""
        with self._changed:
            self._is_closed = True
            if self._running is not None:
                self._running.end()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._build(job)
            except Exception:  # the next job must not wait for ever
                logger.exception("a build has failed")
                self._end(job, JobState.FAILED, "the server has failed: see its log")

    def _next(self) -> Job | None:
        with self._changed:
            while not self._is_closed:
                waiting = [job for job in self.list() if job.state is JobState.QUEUED]
                if waiting:
                    return waiting[-1]
                self._changed.wait()
        return None

    def _build(self, job: Job) -> None:
        with self._changed:
            now = self.get(job.id)
            if self._is_closed or now is None or now.state is not JobState.QUEUED:  # since it was chosen
                return
            uploads = list((self.folder / job.id).glob("video.*"))
            if not uploads:
                self._end(job, JobState.FAILED, "its video is gone: upload it again")
                return
            if job.starts >= MOST_STARTS:
                self._end(job, JobState.FAILED, f"the server ended {job.starts} times while it was built")
                return
            plan = BuildPlan(uploads[0], self._maps / job.name, MappingConfig())
            self._set(job.id, state=JobState.BUILDING.value, starts=job.starts + 1)
            report = _StoredProgress(lambda **values: self._set(job.id, **values))
            self._running = ChildProcess(build, plan, limits=Limits(processor_s=MOST_PROCESSOR_S), on_message=report)
            self._running_id = job.id
        try:
            summary = self._running.result()
        except (VislocError, RuntimeError) as error:
            self._fail(job, error)
        else:
            self._finish(job, str(summary).splitlines()[0])
        finally:
            self._running = None

    def _finish(self, job: Job, message: str) -> None:
        """Keep the map, unless the job was cancelled while it ended."""
        with self._changed:
            now = self.get(job.id)
            if now is not None and now.state is JobState.CANCELLED:
                shutil.rmtree(self._maps / job.name, ignore_errors=True)
                shutil.rmtree(self.folder / job.id, ignore_errors=True)
            else:
                self._end(job, JobState.DONE, message)

    def _fail(self, job: Job, error: Exception) -> None:
        now = self.get(job.id)
        if now is not None and now.state is JobState.CANCELLED:
            shutil.rmtree(self.folder / job.id, ignore_errors=True)
        elif self._is_closed:
            self._set(job.id, state=JobState.QUEUED.value, starts=job.starts)  # not the job's fault
        elif isinstance(error, VislocError):
            words = str(error).replace(f"{self.folder / job.id}/", "").replace(f"{self._maps}/", "")
            self._end(job, JobState.FAILED, words)
        else:
            logger.error("the build of '%s' has failed: %s", job.name, error)
            self._end(job, JobState.FAILED, "the server has failed: see its log")

    def _end(self, job: Job, state: JobState, message: str) -> None:
        self._set(job.id, state=state.value, message=message)
        shutil.rmtree(self.folder / job.id, ignore_errors=True)

    def _set(self, job_id: str, **values: object) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self._database() as database:
            database.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), job_id))

    def _remove_strays(self) -> None:
        """Remove the files of uploads that the end of the server interrupted."""
        waiting = {job.id for job in self.list() if job.state in OPEN}
        for path in self.folder.iterdir():
            if path.is_dir() and path.name not in waiting:
                shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A connection for this thread, which commits its changes unless an exception is raised. Raises SetupError."""
        try:
            with closing(sqlite3.connect(self.folder / DATABASE, timeout=30.0)) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise SetupError(f"the list of jobs in {self.folder} cannot be used: {error}") from error


class _StoredProgress:
    """Stores the progress of a build at a limited rate."""

    PERIOD_S = 0.2

    def __init__(self, keep: Any) -> None:
        self._keep, self._steps, self._kept_s = keep, 0, 0.0

    def __call__(self, what: str, *words: Any) -> None:
        """A call of a ``Progress``, as name and arguments."""
        if what == "stage":
            self._steps = 0
            self._keep(stage=words[0], steps=0, total=words[1])
            return
        self._steps += words[0] if words else 1
        if time.monotonic() - self._kept_s >= self.PERIOD_S:
            self._kept_s = time.monotonic()
            self._keep(steps=self._steps)
