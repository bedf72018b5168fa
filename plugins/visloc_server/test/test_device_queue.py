"""Searches wait their turn, no more than will be answered, and no longer than anybody waits."""

import asyncio
import threading

import pytest

from visloc_ros.core.errors import DeadlineError
from visloc_server.device_queue import ClientBusyError, DeviceQueue, QueueFullError

TIMEOUT_S = 30.0


def test_work_is_done_in_order_by_one_thread():
    async def run():
        queue = DeviceQueue(8, TIMEOUT_S)
        done = []

        def work(number):
            done.append((number, threading.get_ident()))
            return number

        answers = await asyncio.gather(*(queue.do(lambda number=number: work(number)) for number in range(8)))
        queue.close()
        return answers, done

    answers, done = asyncio.run(run())
    assert answers == list(range(8))
    assert [number for number, _ in done] == list(range(8))
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] != threading.get_ident()


def test_one_more_than_may_wait_is_refused_until_one_is_done():
    async def run():
        queue, go_on = DeviceQueue(2, TIMEOUT_S), threading.Event()
        waiting = [asyncio.create_task(queue.do(lambda: go_on.wait(TIMEOUT_S))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await queue.do(lambda: None)
        go_on.set()
        await asyncio.gather(*waiting)
        while queue.waiting:
            await asyncio.sleep(0.001)
        assert await queue.do(lambda: 5) == 5
        queue.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def test_one_client_leaves_room_for_others():
    async def run():
        queue, go_on = DeviceQueue(4, TIMEOUT_S), threading.Event()

        def ask(client):
            return asyncio.create_task(queue.do(lambda: go_on.wait(TIMEOUT_S), client))

        waiting = [ask("a"), ask("a")]
        await asyncio.sleep(0)
        with pytest.raises(ClientBusyError):
            queue.check_room("a")
        waiting += [ask("b"), ask("c")]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            queue.check_room("d")
        go_on.set()
        await asyncio.gather(*waiting)
        while queue.waiting:
            await asyncio.sleep(0.001)
        assert await queue.do(lambda: 5, "a") == 5
        queue.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def test_nobody_waits_for_ever_and_what_runs_on_counts_until_it_ends():
    async def run():
        queue, go_on = DeviceQueue(2, 0.05), threading.Event()
        with pytest.raises(DeadlineError):
            await queue.do(lambda: go_on.wait(TIMEOUT_S))
        assert queue.waiting == 1
        go_on.set()
        while queue.waiting:
            await asyncio.sleep(0.001)
        queue.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def test_what_fails_fails_for_who_asked():
    def fail():
        raise ValueError("this")

    async def run():
        queue = DeviceQueue(2, TIMEOUT_S)
        with pytest.raises(ValueError, match="this"):
            await queue.do(fail)
        queue.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def test_a_request_that_never_ends_is_no_sign_of_life():
    async def run():
        queue, go_on = DeviceQueue(2, 0.01), threading.Event()
        with pytest.raises(DeadlineError):
            await queue.do(lambda: go_on.wait(TIMEOUT_S))
        while not queue.is_stuck:
            await asyncio.sleep(0.01)
        go_on.set()
        while queue.is_stuck:
            await asyncio.sleep(0.01)
        queue.close()

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))
