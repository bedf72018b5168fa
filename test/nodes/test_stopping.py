import pytest

rclpy = pytest.importorskip("rclpy")

from visloc_ros.nodes import base


@pytest.fixture
def context(ros_domain):
    rclpy.init(args=[])
    yield
    if rclpy.ok():
        rclpy.shutdown()


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


class Node:
    is_shut_down = False


def test_a_signal_while_the_executor_begins_to_wait_is_no_error(context):
    base.serve(Executor(is_shut_down=True), [Node()])
    assert not rclpy.ok()


def test_an_executor_that_fails_is_an_error(context):
    with pytest.raises(base.RCLError):
        base.serve(Executor(is_shut_down=False), [Node()])
