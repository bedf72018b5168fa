"""Load beside the nodes while they are measured: other programs, fewer cores, stops.

Nothing here needs rights or control groups. A quota works as Linux does for a container, period by period, but by
stopping the processes (SIGSTOP) once they have used it up, and continuing them (SIGCONT) in the next period.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event

import psutil

LIMIT_S = 5400.0  # a program ends by itself then, longer than a soak, or when its parent has died
PROGRAM = """
import os, sys, time
{prepare}
parent, end_s = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while os.getppid() == parent and time.monotonic() < end_s:
    {turn}
"""
SPINNING = PROGRAM.format(prepare="", turn="for _ in range(100_000): pass")
STREAMING = PROGRAM.format(
    prepare="import numpy; halves = numpy.ones((2, 16_000_000))",  # 256 MB: more than any cache holds
    turn="halves[0] = halves[1]",
)
PERIOD_S = 0.1  # of a quota: what Linux and Docker take where nobody says otherwise
POLL_S = 0.005
LOOK_S = 0.5
PROCESSOR_CLOCK = 2  # CPUCLOCK_SCHED: see clock_getcpuclockid(3)


@dataclass(frozen=True)
class Condition:
    """A condition of a measurement; ``make`` returns its context."""

    name: str
    make: Callable[[], AbstractContextManager[object]] = nullcontext


def conditions(own_sessions: bool = False) -> tuple[Condition, ...]:
    """All of them; with ``own_sessions`` each other program is in a session of its own."""
    return (
        Condition("quiet"),
        *(Condition(f"{count} busy", partial(beside, SPINNING, count, own_sessions)) for count in (1, 2, 4)),
        Condition("memory", partial(beside, STREAMING, 1, own_sessions)),
        Condition("one core", one_core),
        Condition("quota 1.0", partial(held_back, partial(keep_quota, 1.0))),
        Condition("quota 0.5", partial(held_back, partial(keep_quota, 0.5))),
        Condition("slowed to a third", partial(held_back, partial(slow_down, 0.010, 0.020))),
    )


@contextmanager
def beside(program: str, count: int, own_sessions: bool = False) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run so many processes of a program during the block. Raises RuntimeError where one ended before."""
    command = [sys.executable, "-c", program, str(os.getpid()), str(LIMIT_S)]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(subprocess.Popen(command, start_new_session=own_sessions))
        yield processes
        if any(process.poll() is not None for process in processes):
            raise RuntimeError("a program that was to keep the processors busy ended before the measurement")
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and all processes that it starts, on one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class Nodes:
    """The processes of the nodes that this program runs, with their children but without the player."""

    def __init__(self) -> None:
        self._spent_s: dict[psutil.Process, float] = {}
        self._next_look_s = 0.0

    def look(self) -> None:
        """Find those that have started since, if the last look was a while ago."""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + LOOK_S
        for node in filter(is_node, psutil.Process().children()):
            with suppress(psutil.NoSuchProcess):
                for process in (node, *node.children(recursive=True)):
                    self._spent_s.setdefault(process, processor_s(process, 0.0))

    def stop(self) -> None:
        """Stop all that have been found."""
        self._tell(signal.SIGSTOP)

    def let_go(self) -> None:
        """Let all go on."""
        self._tell(signal.SIGCONT)

    def spent_s(self) -> float:
        """Processor time of all since the last call, or since they were found."""
        before, self._spent_s = self._spent_s, {one: processor_s(one, spent) for one, spent in self._spent_s.items()}
        return sum(self._spent_s.values()) - sum(before.values())

    def _tell(self, number: signal.Signals) -> None:
        for process in self._spent_s:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def is_node(process: psutil.Process) -> bool:
    """Whether a process is a node's, and not the player's."""
    try:
        line = " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
    return "visloc_ros.nodes." in line and "visloc_ros.nodes.replay_node" not in line


def processor_s(process: psutil.Process, otherwise: float) -> float:
    """Processor time of a process so far, finer than psutil's hundredths of a second; ``otherwise`` if it has ended."""
    try:
        return time.clock_gettime(~process.pid << 3 | PROCESSOR_CLOCK)
    except OSError:
        return otherwise


@contextmanager
def held_back(how: Callable[[Nodes, Event], None]) -> Iterator[None]:
    """Stop the nodes now and then, by ``how``, as long as the block lasts; in the end all go on."""
    nodes, over = Nodes(), Event()

    def work() -> None:
        try:
            how(nodes, over)
        finally:
            nodes.let_go()

    with ThreadPoolExecutor(1) as thread:
        worked = thread.submit(work)
        try:
            yield
        finally:
            over.set()
            worked.result()


def slow_down(runs_s: float, stopped_s: float, nodes: Nodes, over: Event) -> None:
    """Let the nodes run and stop them in turns; one that was longer than asked makes the next as much longer."""
    while not over.is_set():
        nodes.look()
        begin_s = time.monotonic()
        nodes.let_go()
        over.wait(runs_s)
        nodes.stop()
        over.wait((time.monotonic() - begin_s) * stopped_s / runs_s)


def keep_quota(quota: float, nodes: Nodes, over: Event) -> None:
    """Stop the nodes for the rest of each period in which they have used up ``quota`` processor seconds a second.

    What they take beyond it between two looks is taken off the next period; what they leave is lost.
    """
    left_s = 0.0
    while not over.is_set():
        nodes.look()
        end_s = time.monotonic() + PERIOD_S
        left_s = min(left_s, 0.0) + quota * PERIOD_S
        if left_s > 0.0:
            nodes.let_go()
        while left_s > 0.0 and time.monotonic() < end_s and not over.wait(POLL_S):
            left_s -= nodes.spent_s()
        if left_s <= 0.0:
            nodes.stop()
            over.wait(end_s - time.monotonic())
