"""Items on the processors of this computer: worker processes, as many as its memory allows, replaced when they die."""

from __future__ import annotations

import logging
import os
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from visloc_ros.core.child_process import ChildProcess, CrashError, DeathError, Send
from visloc_ros.core.errors import SetupError
from visloc_ros.execution.engine import MOST_RETRIES, Item, LostItemError, Resources, Result
from visloc_ros.execution.this_computer import VISIBLE_GPUS, free_memory_bytes, gpu_names, num_processors
from visloc_ros.execution.worker import Outcome, outcome_of

log = logging.getLogger(__name__)

_ENDING_S = 2.0  # of workers to clear up, before they are killed
_WAIT_S = 1.0  # for memory that another program may free


class ProcessEngine:
    """Worker processes of this computer, ``workers`` at most, by default one a processor.

    A worker has as many threads as an item needs processors. Workers stay for the next run that needs the same.
    """

    def __init__(self, workers: int = 0) -> None:
        self._most = workers or num_processors()
        self._needs = Resources()
        self._workers: list[_Worker] = []
        weakref.finalize(self, _end, self._workers)  # or the interpreter would wait for them at its end

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item], needs: Resources
    ) -> Iterator[tuple[int, Result]]:
        """As ``Engine.run``; a worker that the system kills, as when memory is short, halves how many run at once."""
        if needs != self._needs:
            self.close()  # they have other threads and GPUs, and hold memory of the work before
            self._needs = needs
        most, waiting, deaths = self._at_once(needs), deque(range(len(items))), Counter[int]()
        try:
            while waiting or self._busy:
                while waiting and len(self._busy) < most and (worker := self._free_worker()):
                    worker.give(waiting.popleft(), function, items)
                for worker in self._with_message():
                    row = worker.row
                    try:
                        outcome = worker.outcome()
                    except DeathError as death:
                        self._workers.remove(worker)
                        deaths[row] += 1
                        if deaths[row] > MOST_RETRIES:
                            raise LostItemError.of(row, items[row], str(death)) from death
                        log.warning("%s: %s; another worker does it again", items[row], death)
                        most = max(1, most // 2) if isinstance(death, CrashError) else most
                        waiting.appendleft(row)
                        continue
                    if isinstance(outcome, Exception):
                        raise outcome
                    if outcome is not None:
                        yield row, outcome[0]
        finally:
            _end(self._busy)
            self._workers[:] = [worker for worker in self._workers if worker.row is None]

    def close(self) -> None:
        """End the workers."""
        _end(self._workers)
        self._workers.clear()

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.row is not None]

    def _with_message(self) -> list[_Worker]:
        """Busy workers that have sent something, or have died; waits for one, but not for ever."""
        ready: list[Any] = wait(self._busy, _WAIT_S)  # type: ignore[arg-type]  # it takes all that has a fileno
        return ready

    def _at_once(self, needs: Resources) -> int:
        """How many items the workers, processors and GPUs allow. Raises SetupError where a GPU is missing."""
        counts = [float(self._most)]
        if needs.processors:
            counts.append(num_processors() // needs.processors)
        if needs.gpus:
            if not gpu_names():
                raise SetupError("this work needs a GPU, and this computer has none: set its device to 'cpu'")
            counts.append(len(gpu_names()) // needs.gpus)
        return max(1, int(min(counts)))

    def _free_worker(self) -> _Worker | None:
        """A worker for the next item, a new one where all are busy; None while memory is short and others run."""
        idle = next((worker for worker in self._workers if worker.row is None), None)
        needed = self._needs.memory_bytes
        if self._busy and needed:
            promised = sum(max(0, needed - worker.memory_bytes()) for worker in self._busy)
            held = idle.memory_bytes() if idle else 0
            if free_memory_bytes() - promised + held < needed:
                return None
        if idle is None:
            taken = Counter(worker.gpu for worker in self._workers)
            gpu = min(gpu_names(), key=lambda name: taken[name]) if gpu_names() else None
            idle = _Worker(self._needs.processors, gpu)
            self._workers.append(idle)
        return idle


class _Worker:
    """A process that does one item after another; ``row`` is that of the item that it does."""

    def __init__(self, processors: float, gpu: str | None) -> None:
        calls, self._calls = Pipe(duplex=False)
        self.row: Any = None
        self.gpu = gpu
        self._outcome: Outcome | None = None
        self._process: ChildProcess[None] = ChildProcess(
            _work, calls, processors, gpu, on_message=self._take, has_children=True, ending_s=_ENDING_S
        )
        calls.close()
        self.fileno = self._process.fileno
        self.ask_to_end, self.end = self._process.ask_to_end, self._process.end

    def give(self, row: int, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        """Let it do an item; that it has died meanwhile shows in its answer."""
        self.row = row
        try:
            self._calls.send((function, items[row]))
        except OSError as error:
            log.debug("a worker died while it was idle: %s", error)

    def outcome(self) -> Outcome | None:
        """Wait for a message; None where it was not the outcome. Raises DeathError."""
        self._process.receive()
        outcome, self._outcome = self._outcome, None
        if outcome is not None:
            self.row = None
        return outcome

    def memory_bytes(self) -> int:
        """The memory that it holds."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _take(self, outcome: Outcome) -> None:
        self._outcome = outcome


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.ask_to_end()
    for worker in workers:
        worker.end()


def _work(send: Send, calls: Connection, processors: float, gpu: str | None) -> None:
    """Do what comes, until no more does."""
    if gpu is not None:
        os.environ[VISIBLE_GPUS] = gpu
    while True:
        try:
            function, item = calls.recv()
        except EOFError:
            return
        send(outcome_of(function, item, processors))
