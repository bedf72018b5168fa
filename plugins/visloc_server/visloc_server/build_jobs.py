"""Builds and updates maps by uploaded recordings, one after the other; the jobs survive a restart of the server."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from visloc_ros.core.child_process import ChildProcess, Limits, Send
from visloc_ros.core.errors import ConfigError, OutputError, SetupError, VislocError
from visloc_ros.core.files import exists
from visloc_ros.core.manifest import MANIFEST_NAME, read_manifest
from visloc_ros.core.map_lock import changing
from visloc_ros.execution.content_key import content_key
from visloc_ros.mapping.build_job import BuildPlan, build
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.update.update_job import UpdatePlan, update
from visloc_ros.sources.base import BAG_SUFFIXES
from visloc_ros.sources.video import VIDEO_SUFFIXES
from visloc_server.job import OPEN, Job, JobKind, JobState, TakenNameError, TooManyJobsError

logger = logging.getLogger(__name__)

FOLDER = ".visloc_jobs"  # below the maps: on the same disk, and no map
DATABASE = "jobs.sqlite"
MOST_OPEN = 8
MOST_STARTS = 2  # of a job that crashes the server: a third one would, too
MOST_PROCESSOR_S = 24 * 3600
_SUFFIXES = (*VIDEO_SUFFIXES, *BAG_SUFFIXES)
LOOK_S = 0.1  # for a process that ends within some seconds
DONE_BEFORE = "it was done before its process, or the server, ended"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
COLUMNS = "id, name, state, stage, steps, total, message, created_s, starts, kind"
TABLE = (
    "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, name TEXT, state TEXT, stage TEXT, steps INTEGER, "
    "total INTEGER, message TEXT, created_s REAL, starts INTEGER, kind TEXT)"
)
ADDED = "ALTER TABLE jobs ADD COLUMN kind TEXT DEFAULT 'build'"  # to a table of version 0.1.0


class BuildJobs:
    """The jobs of one server, done in turn in separate processes; ``on_update`` gets the name of an updated map."""

    def __init__(self, maps: Path, on_update: Callable[[str], None] = lambda _: None) -> None:
        self._maps, self.folder, self._on_update = maps, maps / FOLDER, on_update
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
                if "kind" not in {column[1] for column in database.execute("PRAGMA table_info(jobs)")}:
                    database.execute(ADDED)
            begun = [job for job in self.open_jobs() if job.state is JobState.BUILDING]  # by an earlier server
            self._remove_strays()
            self._thread = threading.Thread(target=self._work, args=(begun,), name="visloc builds", daemon=True)
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

    def check(self, name: str, file_name: str, kind: JobKind = JobKind.BUILD) -> str:
        """The name here of a recording that may be uploaded for this map, which exists where it is to be updated.

        Raises ConfigError for an invalid name, or a file that is no recording, TakenNameError, TooManyJobsError, and
        OutputError where the server cannot write.
        """
        if kind is JobKind.BUILD and not NAME.fullmatch(name):
            raise ConfigError("a map's name has up to 64 letters, digits, '-' and '_', and begins with no sign")
        stem, suffix = Path(file_name).stem, Path(file_name).suffix.lower()
        if suffix not in _SUFFIXES:
            raise ConfigError(f"'{suffix}' is no kind of video or bag that is known here: {', '.join(_SUFFIXES)}")
        self._open()
        waiting = self.open_jobs()
        if kind is JobKind.BUILD and (exists(self._maps / name) or any(job.name == name for job in waiting)):
            raise TakenNameError(f"there is a map '{name}' already: choose another name, or delete it")
        if len(waiting) >= MOST_OPEN:
            raise TooManyJobsError(f"{len(waiting)} maps wait to be built or updated: try again later")
        return f"{stem if NAME.fullmatch(stem) else 'recording'}{suffix}"

    def open_jobs(self) -> Sequence[Job]:
        """The jobs that have not ended, the newest first."""
        return [job for job in self.list() if job.state in OPEN]

    @contextmanager
    def none_of(self, name: str) -> Iterator[None]:
        """Let no job of a map begin meanwhile. Raises TakenNameError while one is open."""
        with self._changed:
            if any(job.name == name for job in self.open_jobs()):
                raise TakenNameError(f"'{name}' is being built or updated: wait until that is done, or cancel it")
            yield

    def new_upload(self, file_name: str) -> Path:
        """Path to write the next recording to: its folder is the job's, named by its id."""
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        return folder / file_name

    def drop(self, upload: Path) -> None:
        """Remove an upload that becomes no job."""
        shutil.rmtree(upload.parent, ignore_errors=True)

    def add(self, upload: Path, name: str, kind: JobKind = JobKind.BUILD) -> Job:
        """Build or update a map by an upload when its turn comes. Raises as ``check``, for what came meanwhile."""
        job = Job(upload.parent.name, name, JobState.QUEUED, "", 0, 0, "", time.time(), 0, kind)
        with self._changed:
            self.check(name, upload.name, kind)
            with self._database() as database:
                values = (job.id, job.name, job.state.value, job.stage, 0, 0, job.message, job.created_s, 0, kind.value)
                marks = ", ".join("?" for _ in values)
                database.execute(f"INSERT INTO jobs ({COLUMNS}) VALUES ({marks})", values)
            self._changed.notify_all()
        return job

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job, also while it is done; one that has ended stays as it is."""
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
        """Stop; the next server starts a running job again."""
        with self._changed:
            self._is_closed = True
            if self._running is not None:
                self._running.end()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self, begun: Sequence[Job]) -> None:
        for one in begun:
            self._attempt(self._begin_again, one)
        while (job := self._next()) is not None:
            self._attempt(self._build, job)

    def _attempt(self, work: Callable[[Job], None], job: Job) -> None:
        try:
            work(job)
        except Exception:  # the next job must not wait for ever
            logger.exception("a job has failed")
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
            uploads = list((self.folder / job.id).glob("*"))
            if not uploads:
                self._end(job, JobState.FAILED, "its recording is gone: upload it again")
                return
            if job.starts >= MOST_STARTS:
                self._end(job, JobState.FAILED, f"the server ended {job.starts} times while it was done")
                return
            self._set(job.id, state=JobState.BUILDING.value, starts=job.starts + 1)
            report = _StoredProgress(lambda **values: self._set(job.id, **values))
            path, limits = self._maps / job.name, Limits(processor_s=MOST_PROCESSOR_S)
            work = _work_of(job, path, uploads[0])
            self._running = ChildProcess(_alone, uploads[0], path, *work, limits=limits, on_message=report)
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
        """Keep the map, unless its build was cancelled while it ended."""
        if job.kind is JobKind.UPDATE:  # done, whatever was asked for since: a rollback undoes it
            self._on_update(job.name)
            self._end(job, JobState.DONE, message)
            return
        with self._changed:
            now = self.get(job.id)
            if now is not None and now.state is JobState.CANCELLED:
                shutil.rmtree(self._maps / job.name, ignore_errors=True)
                shutil.rmtree(self.folder / job.id, ignore_errors=True)
            else:
                self._end(job, JobState.DONE, message)

    def _begin_again(self, job: Job) -> None:
        """Let a job wait that an earlier server began, unless it is done or was cancelled since."""
        self._wait_for_process(job)
        if self._is_closed:
            return
        if self._is_done(job):
            self._finish(job, DONE_BEFORE)
            return
        with self._changed:
            now = self.get(job.id)
            if now is not None and now.state is JobState.BUILDING:
                self._set(job.id, state=JobState.QUEUED.value)
            else:
                shutil.rmtree(self.folder / job.id, ignore_errors=True)

    def _wait_for_process(self, job: Job) -> None:
        """Wait until the process that an earlier server left has ended: it may change the map to the last."""
        try:
            descriptor = os.open(next((self.folder / job.id).glob("*")), os.O_RDWR)
        except (StopIteration, FileNotFoundError):  # its recording is gone
            return
        with self._changed:
            while not self._is_closed and not _lock(descriptor):
                self._changed.wait(LOOK_S)
        os.close(descriptor)

    def _is_done(self, job: Job) -> bool:
        """Whether a job that began has changed the map: no recording may build or teach it twice."""
        path, recording = self._maps / job.name, next((self.folder / job.id).glob("*"), None)
        if recording is None or not exists(path):
            return False
        try:
            manifest = read_manifest(path)
            if job.kind is JobKind.UPDATE:
                return content_key(recording) in {session.get("recording") for session in manifest.sessions}
            is_newer = (path / MANIFEST_NAME).stat().st_mtime >= job.created_s  # there was none of that name
            return is_newer and manifest.created_from == recording.stem
        except (VislocError, OSError) as error:
            logger.warning("whether '%s' was %s is not known: %s", job.name, job.kind.value, error)
            return False

    def _fail(self, job: Job, error: Exception) -> None:
        """Report why a job has failed, unless it had changed its map before it ended, or when it began before."""
        if (job.starts or isinstance(error, SetupError)) and self._is_done(job):
            self._finish(job, DONE_BEFORE)
            return
        now = self.get(job.id)
        if now is not None and now.state is JobState.CANCELLED:
            shutil.rmtree(self.folder / job.id, ignore_errors=True)
        elif self._is_closed:
            self._set(job.id, state=JobState.QUEUED.value, starts=job.starts)  # not the job's fault
        elif isinstance(error, VislocError):
            words = str(error).replace(f"{self.folder / job.id}/", "").replace(f"{self._maps}/", "")
            self._end(job, JobState.FAILED, words)
        else:
            logger.error("the %s of '%s' has failed: %s", job.kind.value, job.name, error)
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


def _work_of(job: Job, path: Path, recording: Path) -> tuple[Callable[..., Any], BuildPlan | UpdatePlan]:
    """The function of a job, for a separate process, and its plan."""
    if job.kind is JobKind.UPDATE:
        return update, UpdatePlan(path, recording)
    return build, BuildPlan(recording, path, MappingConfig())


def _alone(send: Send, recording: Path, path: Path, function: Callable[..., Any], plan: BuildPlan | UpdatePlan) -> Any:
    """Do the work of a job, while nobody else changes its map. Raises MapBusyError, and what the function raises.

    This process locks the recording as long as it lives, whatever becomes of the server.
    """
    _lock(os.open(recording, os.O_RDWR))
    with changing(path):
        return function(send, plan)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed, unless another process has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _StoredProgress:
    """Stores the progress of a job at a limited rate."""

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
