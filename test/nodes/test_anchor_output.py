"""A search that is starved of the processor and one that hangs are told apart."""

import threading
import time

import pytest

from visloc_ros.nodes import anchor_output
from visloc_ros.nodes.anchor_output import SearchWatch, judged

TIMEOUT_S = 10.0


@pytest.mark.parametrize(
    ("since_s", "processor_s", "level", "words"),
    [
        (3.0, 0.1, None, ""),  # not long enough to tell
        (20.0, 15.0, None, ""),  # a large map on a slow processor
        (6.0, 1.2, "warn", "run for 6 s and had the processor for 1.2 s"),
        (49.0, 4.0, "warn", "run for 49 s and had the processor for 4.0 s"),
        (49.0, 0.0, "error", "start this node again"),  # it waits for something that does not come
        (49.0, 48.5, "error", "start this node again"),  # it goes round in circles
    ],
)
def test_what_a_search_has_had_of_the_processor_shows_what_is_wrong(since_s, processor_s, level, words):
    problem = judged(since_s, processor_s)
    assert (None if problem is None else problem[0]) == level
    assert words in (problem or ("", ""))[1]


def test_the_processor_time_of_the_searching_thread_counts_and_not_that_of_others(monkeypatch):
    monkeypatch.setattr(anchor_output, "HUNG_S", 0.2)
    monkeypatch.setattr(anchor_output, "SLOW_S", 0.2)
    watch, entered, go_on = SearchWatch(), threading.Event(), threading.Event()

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
