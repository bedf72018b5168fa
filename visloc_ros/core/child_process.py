"""Work in a separate process: its memory use and its crashes do not affect this process."""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from visloc_ros.core.errors import SetupError, VislocError
from visloc_ros.core.watchdog import EXIT_CODE

ResultT = TypeVar("ResultT")
Send = Callable[..., None]

_ENDING_S = 5.0  # to clear up after itself


@dataclass(frozen=True)
class Limits:
    """Limits of the work, None for unlimited: bytes beyond those of its libraries, seconds of processor time."""

    memory_bytes: int | None = None
    processor_s: int | None = None


class DeathError(SetupError):
    """The process has ended without a result."""


class CrashError(DeathError):
    """A signal killed the process, as when a native library crashes, or its watchdog has ended it since it hung."""


class ChildProcess(Generic[ResultT]):
    """Calls ``function(send, *arguments)`` in a new process; what ``send`` is given there, ``on_message`` gets here.

    The function, its arguments and its result must be picklable. Log records of this package are forwarded here.
    ``has_children`` allows it child processes of its own; ``ending_s`` is the time that it gets to end in order.
    """

    def __init__(
        self,
        function: Callable[..., ResultT],
        *arguments: Any,
        limits: Limits | None = None,
        on_message: Send | None = None,
        has_children: bool = False,
        ending_s: float = _ENDING_S,
    ) -> None:
        context = get_context("forkserver")  # its processes start at once, after it has imported what they need
        context.set_forkserver_preload([function.__module__])
        self._on_message, self._is_ended, self._ending_s = on_message, False, ending_s
        self._pipe, far_end = context.Pipe(duplex=False)
        work = (far_end, limits or Limits(), ending_s, function, arguments)
        self._process = context.Process(target=_serve, args=work, name=function.__name__, daemon=not has_children)
        with deaf_to_ctrl_c(), _blocked(signal.SIGTERM):  # the child unblocks it once it can end in order
            self._process.start()
        far_end.close()

    def result(self) -> ResultT:
        """Wait for the result.

        Raises the VislocError that the function raised, RuntimeError with the trace of any other; DeathError where the
        process has died, CrashError where a signal or its watchdog ended it.
        """
        try:
            while (received := self.receive()) is None:
                pass
            return received[0]
        finally:
            self.end()

    def receive(self) -> tuple[ResultT] | None:
        """Wait for one message of the process; None, or alone in a tuple the result. Raises as ``result`` does."""
        try:
            kind, content = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if kind == "result":
            return (content,)
        if kind == "error":
            raise content
        if kind == "failure":
            raise RuntimeError(content)
        if kind == "log":
            log_again(*content)
        elif self._on_message is not None:
            self._on_message(*content)
        return None

    def fileno(self) -> int:
        """What ``multiprocessing.connection.wait`` waits for: a message, or the end of the process."""
        return self._pipe.fileno()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid or 0

    def _death(self) -> SetupError:
        self._process.join()
        code = self._process.exitcode or 0
        if self._is_ended:
            return SetupError("it was stopped before its end")
        if code < 0:
            return CrashError(f"its process died: {signal.Signals(-code).name}")
        if code == EXIT_CODE:
            return CrashError("it hung, and has ended itself")
        return DeathError(f"its process died: exit code {code}")

    def ask_to_end(self) -> None:
        """Let the process clear up and end, without waiting for it."""
        self._is_ended = True
        if self._process.is_alive():
            self._process.terminate()

    def end(self) -> None:
        """Stop the process, if it still runs."""
        self.ask_to_end()
        self._process.join(self._ending_s)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started here never receive Ctrl-C, not even while they import: their parent ends them."""
    resource_tracker.ensure_running()  # its start would unblock the signal in this thread and its children
    with _blocked(signal.SIGINT):
        yield


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Block a signal in this thread, and in processes that are started in the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class LogSender(logging.Handler):
    """Sends log records as logger, level, file, line and text, for ``log_again`` in another process."""

    def __init__(self, send: Callable[[tuple[Any, ...]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        self._send((record.name, record.levelno, record.pathname, record.lineno, record.getMessage()))


def log_again(name: str, level: int, path: str, line: int, text: str) -> None:
    """Log here what a ``LogSender`` has sent."""
    logger = logging.getLogger(name)
    logger.handle(logger.makeRecord(name, level, path, line, "%s", (text,), None))


def _serve(
    pipe: Connection, limits: Limits, ending_s: float, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Do the work, and send how it ended."""
    lock = threading.Lock()

    def send(kind: str, content: Any) -> None:
        with lock:
            pipe.send((kind, content))

    threading.Thread(
        target=_end_with_parent, args=(ending_s,), daemon=True
    ).start()  # SIGTERM is blocked in all threads but this one
    _keep_within(limits)
    logging.getLogger("visloc_ros").addHandler(LogSender(partial(send, "log")))
    with suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            send("result", function(lambda *words: send("words", words), *arguments))
        except VislocError as error:
            send("error", error)
        except MemoryError:
            send("error", SetupError("it needs more memory than there is for it"))
        except Exception:
            send("failure", traceback.format_exc())
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyway


def _end_with_parent(ending_s: float) -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ending_s)
        os.kill(os.getpid(), signal.SIGKILL)  # a native function keeps the interpreter from ending in order


def _keep_within(limits: Limits) -> None:
    if limits.memory_bytes is not None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if limits.processor_s is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.processor_s, limits.processor_s))
