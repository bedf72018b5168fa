"""Work that is starved of the processor and work that hangs are told apart, and a process that hangs ends."""

import subprocess
import sys
import threading
import time

import pytest

from visloc_ros.core import watchdog
from visloc_ros.core.watchdog import EXIT_CODE, HUNG_S, WorkWatch, judged

TIMEOUT_S = 60.0


@pytest.mark.parametrize(
    ("since_s", "processor_s", "level", "words"),
    [
        (3.0, 0.1, None, ""),  # not long enough to tell
        (20.0, 15.0, None, ""),  # a large map on a slow processor
        (6.0, 1.2, "warn", "a search has run for 6 s and had the processor for 1.2 s"),
        (49.0, 4.0, "warn", "run for 49 s and had the processor for 4.0 s"),
        (49.0, 0.0, "error", "a search has been running for 49 s"),  # it waits for something that does not come
        (49.0, 48.5, "error", "a search has been running for 49 s"),  # it goes round in circles
    ],
)
def test_what_work_has_had_of_the_processor_shows_what_is_wrong(since_s, processor_s, level, words):
    problem = judged("a search", since_s, processor_s, HUNG_S)
    assert (None if problem is None else problem[0]) == level
    assert words in (problem or ("", ""))[1]


def test_the_processor_time_of_the_working_thread_counts_and_not_that_of_others(monkeypatch):
    monkeypatch.setattr(watchdog, "SLOW_S", 0.2)
    watch, entered, go_on = WorkWatch("a search", 0.2), threading.Event(), threading.Event()

    def search():
        with watch.running():
            begin_s = time.thread_time()
            while time.thread_time() - begin_s < 0.05:
                pass
            entered.set()
            go_on.wait(TIMEOUT_S)

    thread = threading.Thread(target=search)
    assert watch.problem() is None
    thread.start()
    assert entered.wait(TIMEOUT_S)
    begin_s = time.monotonic()
    while (problem := watch.problem()) is None:  # busy itself
        assert time.monotonic() - begin_s < TIMEOUT_S
    assert problem[0] == "warn"  # 0.05 s of 0.2 s
    go_on.set()
    thread.join(TIMEOUT_S)
    assert watch.problem() is None


def run(body):
    """Run lines of Python in a process whose watchdog waits for half a second."""
    begin = """
import ctypes, time
from visloc_ros.core import watchdog
watchdog.SILENCE_S = 0.5
dog = watchdog.WATCHDOG
dog.arm()
"""
    program = [sys.executable, "-c", f"{begin}{body}"]
    return subprocess.run(program, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize(
    "hang",
    ["time.sleep(600)", "ctypes.PyDLL(None).sleep(600)"],  # the second keeps the interpreter's lock
    ids=["waits", "keeps the interpreter"],
)
def test_a_process_that_gives_no_sign_of_life_ends_and_shows_where_it_hung(hang):
    ended = run(f"def stuck():\n    {hang}\nstuck()")
    assert ended.returncode == EXIT_CODE
    assert "Timeout" in ended.stderr
    assert "in stuck" in ended.stderr


def test_signs_of_life_and_long_transitions_keep_it_alive():
    ended = run("""
for _ in range(12):
    time.sleep(0.1)
    dog.beat()
with dog.patient():
    time.sleep(1.0)
dog.disarm()
dog.beat()
time.sleep(1.0)
print("well")
""")
    assert (ended.returncode, ended.stdout) == (0, "well\n"), ended.stderr


@pytest.mark.parametrize(
    "body",
    [
        "with dog.patient():\n    time.sleep(1.5)\ntime.sleep(600)",
        "watchdog.PATIENCE_S = 0.5\nwith dog.patient():\n    time.sleep(600)",
    ],
    ids=["after", "in"],
)
def test_what_hangs_in_a_transition_or_after_one_ends_as_well(body):
    ended = run(body)
    assert ended.returncode == EXIT_CODE
    assert "no sign of life" in ended.stderr, "by the thread under the interpreter's lock"
