import os
import threading

import pytest

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


@pytest.mark.parametrize(("in_spare_time", "policy"), [(True, os.SCHED_IDLE), (False, os.SCHED_OTHER)])
def test_spare_time_is_the_workers_own(in_spare_time, policy):
    """The thread that hands over the work, which serves the node's other callbacks, keeps its place."""
    policies, done = [], threading.Event()

    def handle(_: int) -> None:
        policies.append(os.sched_getscheduler(0))
        done.set()

    worker = Worker(handle, 1, in_spare_time)
    worker.put(1)
    assert done.wait(TIMEOUT_S)
    worker.close()
    assert policies == [policy]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
