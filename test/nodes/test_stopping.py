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
