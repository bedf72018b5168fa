"""One item waits, the newest."""

import threading

from visloc_ros.core.newest import Newest


def test_one_item_waits_and_a_newer_one_takes_its_place():
    slot = Newest[str]()
    for item in "abc":
        slot.put(item)
    assert slot.take() == (2, "c")
    assert (slot.received, slot.dropped) == (3, 2)


def test_a_waiting_thread_gets_items_and_the_end():
    slot, taken = Newest[str](), []
    thread = threading.Thread(target=lambda: taken.extend([slot.take(), slot.take()]))
    thread.start()
    slot.put("a")
    while not taken and slot._waiting is not None:
        pass
    slot.close()
    thread.join()
    assert taken == [(0, "a"), None]


def test_what_waits_is_given_before_the_end_but_not_once_closed():
    ended, closed = Newest[str](), Newest[str]()
    for slot in (ended, closed):
        slot.put("a")
    ended.end()
    closed.close()
    assert [ended.take(), ended.take(), closed.take()] == [(0, "a"), None, None]
