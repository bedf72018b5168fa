"""Searches in processes of their own, while those of other clients are done in the thread of the queue.

Each process has its own models and opens maps itself. One is started when a search has waited, another one when others
still do, as long as memory suffices; it ends when none has for long. One client costs and waits as without them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread

import psutil

from visloc_ros.core.child_process import ChildProcess, DeathError, Send
from visloc_ros.core.errors import DeadlineError, VislocError
from visloc_ros.core.own_process import keep_freed_memory
from visloc_ros.execution.this_computer import free_memory_bytes, num_processors
from visloc_ros.execution.worker import Outcome, outcome_of
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_server.answers import LocalizeAnswer
from visloc_server.config import ServerConfig
from visloc_server.device_queue import Search, Turn
from visloc_server.resident_maps import ResidentMaps
from visloc_server.search_answer import answer_search

logger = logging.getLogger(__name__)

Offer = tuple[Search, Turn[LocalizeAnswer]]

_PATIENCE_S = 0.25  # that a search waits before a process is started: those of one client never wait
_IDLE_S = 600.0
_PROCESSORS_OF_START = 4  # most of them go on searching
_SHARE_OF_FREE = 0.5  # of the free memory that a process may take
_ENDING_S = 2.0


class SearchProcesses:
    """Takes searches that wait; ``here`` does one in this process, ``on_change`` gets the number of processes.

    Raises nothing itself: a search whose process dies is repeated once, one that hangs is given up after ``within_s``.
    """

    def __init__(
        self,
        config: ServerConfig,
        within_s: float,
        here: Callable[[Search], LocalizeAnswer],
        on_change: Callable[[int], None],
    ) -> None:
        self._config = replace(config, memory_bytes=config.memory_bytes // (1 + config.processes))
        self._within_s, self._here, self._on_change = within_s, here, on_change
        self._offered: SimpleQueue[Offer | None] = SimpleQueue()
        self._starting = Semaphore(max(1, num_processors() // _PROCESSORS_OF_START))
        self._processes: list[SearchProcess] = []
        self._generation, self._not_before_s = 0, 0.0
        self._is_over = False
        self._threads = [Thread(target=self._serve, daemon=True) for _ in range(config.processes)]
        for thread in self._threads:
            thread.start()

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes that run."""
        return [process.pid for process in self._processes]

    def offer(self, search: Search, turn: Turn[LocalizeAnswer]) -> None:
        """Offer a search that waits."""
        if self._threads and not self._is_over:
            turn.future.add_done_callback(lambda _: search.forget())  # it may stay among those offered for long
            self._offered.put((search, turn))

    def forget_maps(self) -> None:
        """Use no map any longer that is open now; searches that have begun go on to their end."""
        self._generation += 1

    def close(self) -> None:
        """End the processes, and what they search."""
        self._is_over = True
        for process in list(self._processes):
            process.end()
        for _ in self._threads:
            self._offered.put(None)
        for thread in self._threads:
            thread.join(_ENDING_S)

    def _serve(self) -> None:
        """Take searches, one after the other, for a process that is started when it is needed."""
        process: SearchProcess | None = None
        while not self._is_over:
            try:
                offer = self._offered.get(timeout=_IDLE_S)
            except Empty:
                process = self._ended(process)
                continue
            if offer is None:
                break
            search, turn = offer
            if process is not None and process.generation != self._generation:
                process = self._ended(process)
            if process is None and not turn.has_begun(_PATIENCE_S):
                process = self._started(search.again(), turn)
            if process is not None and turn.take():
                search.is_taken = True
                turn.finish(partial(self._find, process, search))
                process = process if process.is_alive else self._ended(process)
        self._ended(process)

    def _find(self, process: SearchProcess, search: Search) -> LocalizeAnswer:
        """The answer of a process, or of another one where it dies."""
        try:
            return process.find(search, self._within_s)
        except DeathError as death:
            if self._is_over:
                raise
            logger.warning("a search has lost its process, and is repeated in another one: %s", death)
        except UnexpectedError as error:
            logger.error("a search has failed in its process, and is repeated in the server's: %s", error)
            process.end()
            return self._here(search)
        process.restart()
        return process.find(search, self._within_s)

    def _started(self, search: Search, turn: Turn[LocalizeAnswer]) -> SearchProcess | None:
        """A process that has done a search, so that it has loaded what the next ones need.

        None where the turn does not wait any longer, or where memory does not suffice.
        """
        with self._starting:
            if self._is_over or turn.has_begun(0.0) or time.monotonic() < self._not_before_s or not _has_memory():
                return None
            threads = max(1, num_processors() // (1 + len(self._threads)))
            process = SearchProcess(self._config, threads, self._generation)
            self._processes.append(process)
            try:
                process.find(search, self._within_s)
            except (DeathError, DeadlineError, UnexpectedError) as error:
                self._not_before_s = time.monotonic() + _IDLE_S
                if not self._is_over:
                    logger.error("searches go on in fewer processes, since one could not start: %s", error)
                return self._ended(process)
            except VislocError as error:  # of this search, which is answered in its own turn
                logger.debug("the first search of a process: %s", error)
        self._on_change(len(self._processes))
        return process

    def _ended(self, process: SearchProcess | None) -> SearchProcess | None:
        """None, once a process has ended."""
        if process is not None:
            process.end()
            self._processes.remove(process)
            self._on_change(len(self._processes))
        return None


def _has_memory() -> bool:
    """Whether another process may take as much memory as this one holds."""
    return bool(psutil.Process().memory_info().rss <= _SHARE_OF_FREE * free_memory_bytes())


class SearchProcess:
    """A process that does one search after another; one thread at a time, but for ``end``."""

    def __init__(self, config: ServerConfig, threads: int, generation: int) -> None:
        self._config, self._threads, self.generation = config, threads, generation
        self.restart()

    def restart(self) -> None:
        """Start it, instead of one that has died."""
        calls, self._calls = Pipe(duplex=False)
        self._outcome: Outcome | None = None
        self._process: ChildProcess[None] = ChildProcess(
            _work, calls, self._config, self._threads, on_message=self._take, has_children=True, ending_s=_ENDING_S
        )
        calls.close()
        self.is_alive = True

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def find(self, search: Search, within_s: float) -> LocalizeAnswer:
        """The answer to a search.

        Raises VislocError as the search does, UnexpectedError for what it should not; DeathError where the process has
        died, and DeadlineError where it takes longer than ``within_s``: it is ended then.
        """
        try:
            self._calls.send(search)
        except OSError as error:
            logger.debug("a process died while it was idle: %s", error)
        until_s = time.monotonic() + within_s
        while (outcome := self._outcome) is None:
            if not wait([self._process], max(0.0, until_s - time.monotonic())):  # type: ignore[list-item]
                self.end()
                raise DeadlineError(f"it was not done within {within_s:g} s: try again later")
            self._receive()
        self._outcome = None
        if isinstance(outcome, VislocError):
            raise outcome
        if isinstance(outcome, Exception):
            raise UnexpectedError(str(outcome))
        answer: LocalizeAnswer = outcome[0]
        return answer

    def end(self) -> None:
        """End it at once."""
        self.is_alive = False
        self._process.end()

    def _receive(self) -> None:
        try:
            self._process.receive()
        except VislocError as death:
            self.is_alive = False
            raise death if isinstance(death, DeathError) else DeathError(str(death)) from death

    def _take(self, outcome: Outcome) -> None:
        self._outcome = outcome


class UnexpectedError(Exception):
    """What a search must not raise, as for memory of the device that is short, with its trace."""


def _work(_send: Send, calls: Connection, config: ServerConfig, threads: int) -> None:
    """Do the searches that come, until no more does."""
    keep_freed_memory()
    maps = ResidentMaps(config.maps_folder, config.memory_bytes, AnchorConfig(search=config.search))
    answer = partial(answer_search, maps, extract=extracted)
    while True:
        try:
            search = calls.recv()
        except EOFError:
            return
        _send(outcome_of(answer, search, threads))


def extracted(search: Search, engine: AnchorEngine) -> Query:
    """The frame with its features, those that a batch of the server extracted where there are any."""
    return search.query or engine.extract(search.read())
