"""The nodes' executor serves what rclpy's does, in fewer rounds."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import rclpy
from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from visloc_ros.nodes.background import in_background
from visloc_ros.nodes.executor import QuietExecutor

MESSAGES = 20
TIMEOUT_S = 20.0


class CountingExecutor(QuietExecutor):
    """Counts how often it looks through what its nodes wait for."""

    rounds = 0

    def get_nodes(self) -> list[Node]:
        """One call a round."""
        self.rounds += 1
        return super().get_nodes()


@pytest.fixture
def spun() -> Iterator[tuple[Node, CountingExecutor]]:
    """A node whose executor spins in a thread of its own."""
    rclpy.init()
    node, executor = Node("listener"), CountingExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node, executor
    executor.shutdown(timeout_sec=1.0)
    rclpy.shutdown()
    thread.join(TIMEOUT_S)
    node.destroy_node()


def test_a_message_takes_one_round(spun: tuple[Node, CountingExecutor]) -> None:
    """With a pause between messages each is a round; rclpy's executor needs two."""
    node, executor = spun
    heard = threading.Semaphore(0)
    node.create_subscription(Header, "topic", lambda _: heard.release(), 10)
    publisher = node.create_publisher(Header, "topic", 10)
    _wait_until(publisher.get_subscription_count)
    time.sleep(0.5)
    before = executor.rounds
    for _ in range(MESSAGES):
        publisher.publish(Header())
        assert heard.acquire(timeout=TIMEOUT_S)
        time.sleep(0.02)
    assert executor.rounds - before <= 1.5 * MESSAGES


def test_work_of_another_thread_resumes_its_callback(spun: tuple[Node, CountingExecutor]) -> None:
    """A service that answers after work in the background needs no other event to be answered."""
    node, _ = spun

    async def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = await in_background(node, lambda: time.sleep(0.3) or "done")
        return response

    node.create_service(Trigger, "service", answer)
    client = node.create_client(Trigger, "service")
    assert client.wait_for_service(TIMEOUT_S)
    future, answered = client.call_async(Trigger.Request()), threading.Event()
    future.add_done_callback(lambda _: answered.set())
    assert answered.wait(TIMEOUT_S)
    assert future.result().message == "done"


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
