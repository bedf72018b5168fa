"""A node's counts, published once a second as /diagnostics (REP 107)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from visloc_ros.core.own_process import restarts
from visloc_ros.core.watchdog import SILENCE_S
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.qos import RELIABLE

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR}
PERIOD_S = 1.0
_PROCESSOR = re.compile(r"processor: (.+) \[%\]")
HANGING_PERIOD_S = 10.0  # of reports of work that hangs
ENDS = f"Where the node needs it, this process ends in {SILENCE_S:.0f} s, to be restarted."
LISTED_S = 25.0  # a bit longer than DDS lists a participant that was killed: its lease is 20 s


def publish_diagnostics(node: VislocNode[Any], report: Callable[[], tuple[str, str, Mapping[str, object]]]) -> None:
    """Publish ``report()`` -> (level, message, values) at 1 Hz while the node stays in the state it enters now.

    The counts of the node's guard are added; a failure of this package in the last minute makes it an error, and so
    does work that hangs.
    """
    double = DoubleWatch(node)
    publisher = node.publisher(DiagnosticArray, "/diagnostics", RELIABLE)

    def publish() -> None:
        try:
            level, message, values = report()
        except Exception as error:
            node.guard.keep("diagnostics", error)
            level, message, values = "error", "", {}
        if problem := node.work_problem:
            level, message = problem
            if level == "error":
                node.get_logger().error(f"{message} {ENDS}", throttle_duration_sec=HANGING_PERIOD_S)
        if recent := node.guard.recent_failures:
            level, message = "error", f"{message} {recent} calls failed in the last minute: see the log.".lstrip()
        if double.is_there():
            level = "error"
            message = f"Two nodes have the name {node.get_fully_qualified_name()}: stop one of them. {message}"
        status = DiagnosticStatus(
            level=LEVELS[level], name=f"{node.get_fully_qualified_name()[1:]}: status", message=message
        )
        counted = {**values, **node.guard.values()}
        if restarts():
            counted["started again"] = restarts()
        status.values = [KeyValue(key=key, value=str(value)) for key, value in counted.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(array)

    node.timer(PERIOD_S, publish, is_steady=True)


def processor_values(shares: Mapping[str, float]) -> dict[str, str]:
    """Shares of a processor by stage, as values of diagnostics."""
    return {f"processor: {stage} [%]": f"{100.0 * share:.1f}" for stage, share in shares.items()}


def processor_percent(values: Mapping[str, str]) -> dict[str, float]:
    """The same read again: percent of a processor by stage."""
    found = {_PROCESSOR.fullmatch(key): value for key, value in values.items()}
    return {match[1]: float(value) for match, value in found.items() if match}


class DoubleWatch:
    """Detects another node with this node's name: both would answer its services and send its topics."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self._node, self._alone_s = node, time.monotonic()

    def is_there(self) -> bool:
        """Whether there has been another one for longer than a dead node is still listed."""
        own = self._node.get_name(), self._node.get_namespace()
        now_s = time.monotonic()
        if self._node.get_node_names_and_namespaces().count(own) < 2:
            self._alone_s = now_s
        return now_s - self._alone_s > LISTED_S
