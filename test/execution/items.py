"""What the tests let engines do; modules of tests that workers import."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from visloc_ros.core.child_process import CrashError
from visloc_ros.core.errors import MapError

WAIT_S = 60.0


def square(number: int) -> int:
    return number**2


def worker_of(_: int) -> int:
    return os.getpid()


def width_of_guessed_camera(width: int) -> int:
    from visloc_ros.core.camera import guess_camera  # pycolmap, which is imported when a worker runs already

    return guess_camera(width, 480).width


def die_once(path: str) -> int:
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number: int) -> int:
    if number == 1:
        raise MapError("no such place")
    return number


def refuse_as_dead(_: int) -> int:
    raise CrashError("a process of its own died")


def break_down(_: int) -> float:
    return 1 / 0


FAILURES = [
    (refuse, MapError, "no such place"),
    (refuse_as_dead, CrashError, "a process of its own died"),
    (break_down, RuntimeError, "ZeroDivisionError"),
]
"""Functions that fail, and the errors that reach the caller, with words of them."""


def report(item: tuple[str, float]) -> None:
    Path(item[0], str(os.getpid())).touch()
    time.sleep(item[1])


def environment(_: int) -> tuple[str, int]:
    from threadpoolctl import threadpool_info

    return os.environ["OMP_NUM_THREADS"], max(one["num_threads"] for one in threadpool_info())


def count_running(item: tuple[str, int]) -> int:
    """How many run; waits until as many have run at once as are expected."""
    folder = Path(item[0])
    own, enough = folder / f"{os.getpid()}.running", folder / "enough"
    own.touch()
    deadline = time.monotonic() + WAIT_S
    while (count := len(list(folder.glob("*.running")))) < item[1] and not enough.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    enough.touch()
    own.unlink()
    return count


def visible_gpu(_: int) -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def warn(number: int) -> int:
    logging.getLogger("visloc_ros.test").warning("%d is odd", number)
    return number
