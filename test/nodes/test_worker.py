import os
import queue
import threading

from visloc_ros.core.own_process import NICENESS
from visloc_ros.nodes.worker import Worker

TIMEOUT_S = 10.0


def test_the_newest_item_wins_and_drops_are_counted():
    entered, gate, handled, done = threading.Event(), threading.Event(), [], threading.Event()

    def handle(item: int) -> None:
        entered.set()
        gate.wait(TIMEOUT_S)
        handled.append(item)
        if item == 4:
            done.set()

    worker = Worker(handle, capacity=1)
    worker.put(0)
    assert entered.wait(TIMEOUT_S)
    for item in (1, 2, 3, 4):
        worker.put(item)
    gate.set()
    assert done.wait(TIMEOUT_S)
    worker.close()
    assert handled == [0, 4]
    assert (worker.received, worker.dropped) == (5, 3)


def test_closing_forgets_what_waits():
    gate, entered, handled = threading.Event(), threading.Event(), []

    def handle(item: int) -> None:
        entered.set()
        gate.wait(TIMEOUT_S)
        handled.append(item)

    worker = Worker(handle, capacity=5)
    worker.put(0)
    assert entered.wait(TIMEOUT_S)
    worker.put(1)
    closing = threading.Thread(target=worker.close)
    closing.start()
    gate.set()
    closing.join(TIMEOUT_S)
    assert handled == [0]


def niceness() -> int:
    """That of the calling thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_what_is_not_urgent_gives_way_and_what_is_does_not():
    """Also after one that did, and neither changes the priority of the thread that hands the work over."""
    before, handled = niceness(), queue.Queue()
    worker = Worker(lambda item: handled.put((item, niceness())), 1, is_urgent=lambda item: item != "later")
    for item, expected in (("now", before), ("later", max(before, NICENESS)), ("at once", before)):
        worker.put(item)
        assert handled.get(timeout=TIMEOUT_S) == (item, expected)
    worker.close()
    assert niceness() == before


def test_one_item_is_handled_at_a_time_whoever_handles_it():
    entered, gate, handled = queue.Queue(), threading.Event(), queue.Queue()

    def handle(item: str) -> None:
        entered.put(item)
        gate.wait(TIMEOUT_S)
        handled.put(item)

    worker = Worker(handle, 1, is_urgent=lambda item: item != "later")
    worker.put("now")
    assert entered.get(timeout=TIMEOUT_S) == "now"
    worker.put("later")
    assert entered.empty()
    gate.set()
    assert [handled.get(timeout=TIMEOUT_S) for _ in range(2)] == ["now", "later"]
    worker.close()
