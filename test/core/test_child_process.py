"""Work in a process of its own: its result, its errors and its words come back, and whatever kills it stays there."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core import map_check, watchdog
from visloc_ros.core.child_process import ChildProcess, CrashError, Limits
from visloc_ros.core.errors import MapError, SetupError

WAIT_S = 60.0


def add(send, a, b):
    send("adding", a, b)
    logging.getLogger("visloc_ros.test").warning("so it %s", "goes")
    return a + b


def refuse(_):
    raise MapError("no such place")


def break_down(_):
    return 1 / 0


def crash(_):
    os.kill(os.getpid(), signal.SIGSEGV)


def fill_memory(_, *__):
    return len([np.empty(1 << 24) for _ in range(200)])


def hang(_):
    watchdog.SILENCE_S = 0.5
    watchdog.WATCHDOG.arm()
    time.sleep(WAIT_S)


def never_end(_):
    while True:
        pass


def wait_for_end(send, path):
    try:
        send(os.getpid())
        time.sleep(WAIT_S)
    finally:
        Path(path).write_text("cleared up")


def test_result_words_and_log_come_back(caplog):
    received = []
    process = ChildProcess(add, 2, 3, on_message=lambda *words: received.append(words))
    assert process.result() == 5
    assert received == [("adding", 2, 3)]
    assert [record.getMessage() for record in caplog.records] == ["so it goes"]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("work", "limits", "error", "said"),
    [
        (refuse, None, MapError, "no such place"),
        (break_down, None, RuntimeError, "ZeroDivisionError"),
        (crash, None, CrashError, "SIGSEGV"),
        (hang, None, CrashError, "it hung"),
        (fill_memory, Limits(memory_bytes=1 << 30), SetupError, "more memory"),
        (never_end, Limits(processor_s=1), SetupError, "SIGXCPU|SIGKILL"),
    ],
)
def test_failures_are_reported_and_stay_there(work, limits, error, said):
    with pytest.raises(error, match=said):
        ChildProcess(work, limits=limits).result()
    assert not multiprocessing.active_children()


def test_what_is_stopped_clears_up_after_itself(tmp_path):
    begun = threading.Event()
    process = ChildProcess(wait_for_end, str(tmp_path / "end"), on_message=lambda _: begun.set())
    ended = []

    def wait():
        with pytest.raises(SetupError, match="stopped before its end"):
            process.result()
        ended.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(WAIT_S)
    process.end()
    thread.join(WAIT_S)
    assert ended
    assert (tmp_path / "end").read_text() == "cleared up"


def test_nothing_goes_on_when_the_parent_is_killed(tmp_path):
    program = (
        "from test_child_process import wait_for_end; from visloc_ros.core.child_process import ChildProcess; "
        f"ChildProcess(wait_for_end, {str(tmp_path / 'end')!r}, on_message=lambda pid: print(pid, flush=True)).result()"
    )
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parents[1]}"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + WAIT_S
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()


def test_a_map_that_takes_more_than_its_size_may_is_refused(saved, monkeypatch):
    map_check.check_map(saved)
    monkeypatch.setattr(map_check, "_try", fill_memory)
    with pytest.raises(MapError, match=r"more memory than there is for it.*do not trust it"):
        map_check.check_map(saved)
