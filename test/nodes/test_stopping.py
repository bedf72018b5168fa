import threading

import pytest

rclpy = pytest.importorskip("rclpy")

from node_harness import TIMEOUT_S
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from visloc_ros.nodes import base


@pytest.fixture
def context(ros_domain, monkeypatch):
    rclpy.init(args=[])
    yield
    monkeypatch.undo()
    rclpy.try_shutdown()


def test_a_signal_handler_that_was_quicker_is_no_error(context, monkeypatch):
    """It shuts the context down after rclpy has seen that it is up, and before rclpy does so itself."""

    def lose_the_race():
        rclpy.shutdown()
        raise base.RCLError("rcl_shutdown already called on the given context")

    monkeypatch.setattr(rclpy, "try_shutdown", lose_the_race)
    base._shut_down()
    assert not rclpy.ok()


def test_a_shutdown_that_fails_is_an_error(context, monkeypatch):
    def fail():
        raise base.RCLError("something else")

    monkeypatch.setattr(rclpy, "try_shutdown", fail)
    with pytest.raises(base.RCLError):
        base._shut_down()


class Executor:
    """Fails as rclpy's do, after a signal handler has shut the context down, or before."""

    def __init__(self, is_shut_down):
        self._is_shut_down = is_shut_down

    def spin_once(self):
        if self._is_shut_down:
            rclpy.shutdown()
        raise base.RCLError("failed to initialize wait set: the given context is not valid")


@pytest.fixture
def node(context):
    node = Node("idle")
    node.is_shut_down = False
    yield node
    node.destroy_node()


def test_a_signal_while_the_executor_begins_to_wait_is_no_error(node):
    base.serve(Executor(is_shut_down=True), [node])
    assert not rclpy.ok()


def test_an_executor_that_fails_is_an_error(node):
    with pytest.raises(base.RCLError):
        base.serve(Executor(is_shut_down=False), [node])


def test_a_signal_that_wakes_the_executor_too_early_is_noticed(node):
    """rclpy's handler wakes the executor and then shuts the context down: here it does so without waking anyone."""
    executor, handle = SingleThreadedExecutor(), rclpy.get_default_context().handle
    executor.add_node(node)
    was_woken = threading.Event()

    def give_up():
        was_woken.set()
        executor.wake()

    timers = threading.Timer(0.5, handle.shutdown), threading.Timer(TIMEOUT_S, give_up)
    with handle:
        for timer in timers:
            timer.start()
        with pytest.raises(ExternalShutdownException):
            base.serve(executor, [node])
    timers[1].cancel()
    assert not was_woken.is_set()
