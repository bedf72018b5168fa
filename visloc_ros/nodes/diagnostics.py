"""What a node counts, published once a second as /diagnostics (REP 107)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
PERIOD_S = 1.0


class Diagnostics:
    """Publishes ``report()`` -> (level, message, values) of one node at 1 Hz until closed."""

    def __init__(self, node: Node, report: Callable[[], tuple[str, str, Mapping[str, object]]]) -> None:
        self._node = node
        self._report = report
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._timer = node.create_timer(PERIOD_S, self._publish)

    def _publish(self) -> None:
        level, message, values = self._report()
        status = DiagnosticStatus(level=LEVELS[level], name=f"{self._node.get_name()}: status", message=message)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def close(self) -> None:
        """Stop publishing."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)
