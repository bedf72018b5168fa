"""Whatever a callback, a timer, a service or a worker raises: the node lives, counts it and says it."""

import logging
import threading

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_harness import started
from std_msgs.msg import String
from std_srvs.srv import Trigger

from visloc_msgs.srv import LoadMap, Localize
from visloc_ros.core.config import Config
from visloc_ros.core.errors import SourceError
from visloc_ros.nodes import base, diagnostics, guard
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.worker import in_background


class FailingNode(VislocNode):
    """Fails wherever it is called."""

    default_name = "failing_node"
    config_type = Config

    def configure(self):
        self.calls = []
        self.service(Trigger, "~/plain", self._fail_service)
        self.service(LoadMap, "~/coroutine", self._fail_coroutine)
        self.service(Localize, "~/localize", self._fail_coroutine)

    def activate(self):
        self.subscription(String, "words", self._fail, RELIABLE)
        self.work = self.worker("work", self._fail, capacity=2)
        publish_diagnostics(self, lambda: ("ok", "Fine.", {}))

    def start_timer(self):
        self.timer(0.01, self._fail_on_time)

    def _fail(self, item):
        self.calls.append(item)
        raise SourceError("bad words") if getattr(item, "data", item) == "bad" else ZeroDivisionError(str(item))

    def _fail_on_time(self):
        self._fail("tick")

    def _fail_service(self, request, response):
        response.success, response.message = True, "done"
        raise ZeroDivisionError("plain")

    async def _fail_coroutine(self, request, response):
        response.code = 0
        raise ZeroDivisionError("coroutine")


@pytest.fixture
def frequent_diagnostics(monkeypatch):
    monkeypatch.setattr(diagnostics, "PERIOD_S", 0.1)


def statuses_of(harness):
    """Those of the diagnostics from now on."""
    statuses: list[DiagnosticStatus] = []
    harness.probe.create_subscription(DiagnosticArray, "/diagnostics", lambda m: statuses.extend(m.status), RELIABLE)
    return statuses


def publish(harness, *words):
    publisher = harness.publisher(String, "words")
    for word in words:
        publisher.publish(String(data=word))


def test_a_subscription_and_what_is_to_blame(ros_domain):
    with started(FailingNode) as harness:
        publish(harness, "bad", "broken", "broken")
        harness.wait_for(lambda: len(harness.node.calls) == 3, "all messages")
        assert harness.node.guard.refused == {"words": 1}
        assert harness.node.guard.failures == {"words": 2}


def test_a_timer(ros_domain):
    with started(FailingNode) as harness:
        harness.node.start_timer()
        harness.wait_for(lambda: harness.node.guard.failures["fail_on_time"] >= 3, "ticks")


def test_a_worker(ros_domain):
    with started(FailingNode) as harness:
        for item in (1, 2):
            harness.node.work.put(item)
            harness.wait_for(lambda item=item: harness.node.guard.failures["work"] == item, "work")
        assert harness.node.calls == [1, 2]


def test_services_answer_with_the_failure_in_the_fields_that_they_have(ros_domain):
    with started(FailingNode) as harness:
        plain = harness.call(Trigger, "failing_node/plain", Trigger.Request())
        assert (plain.success, "ZeroDivisionError: plain" in plain.message) == (False, True)
        coroutine = harness.call(LoadMap, "failing_node/coroutine", LoadMap.Request())
        assert coroutine.code == LoadMap.Response.UNDEFINED
        assert "ZeroDivisionError: coroutine" in coroutine.message
        one = harness.call(Localize, "failing_node/localize", Localize.Request()).anchor
        assert (one.accepted, one.reason) == (False, "INTERNAL_ERROR")
        assert harness.node.guard.failures == {"plain": 1, "coroutine": 1, "localize": 1}


def test_diagnostics_say_it(ros_domain, frequent_diagnostics):
    with started(FailingNode) as harness:
        statuses = statuses_of(harness)
        harness.wait_for(lambda: statuses, "diagnostics")
        assert statuses[-1].level == DiagnosticStatus.OK
        publish(harness, "broken")
        harness.wait_for(lambda: statuses[-1].level == DiagnosticStatus.ERROR, "an error")
        assert statuses[-1].message == "Fine. 1 calls failed in the last minute: see the log."
        assert {value.key: value.value for value in statuses[-1].values} == {"failed: words": "1"}


def test_a_failure_of_long_ago_is_counted_and_no_longer_an_error(ros_domain, frequent_diagnostics, monkeypatch):
    monkeypatch.setattr(guard, "RECENT_S", 0.0)
    with started(FailingNode) as harness:
        statuses = statuses_of(harness)
        publish(harness, "broken")
        harness.wait_for(
            lambda: any(one.key == "failed: words" for status in statuses for one in status.values), "a count"
        )
        assert (statuses[-1].level, statuses[-1].message) == (DiagnosticStatus.OK, "Fine.")


def test_a_report_that_fails_is_an_error_too(ros_domain, frequent_diagnostics):
    class Silent(FailingNode):
        def activate(self):
            publish_diagnostics(self, lambda: 1 / 0)

    with started(Silent) as harness:
        statuses = statuses_of(harness)
        harness.wait_for(lambda: statuses, "diagnostics")
        assert statuses[0].level == DiagnosticStatus.ERROR


class SlowNode(VislocNode):
    """Has work that never ends."""

    default_name = "slow_node"
    config_type = Config

    def configure(self):
        self.done = threading.Event()
        self.service(LoadMap, "~/slow", self._work)

    async def _work(self, request, response):
        await in_background(self, self.done.wait, within_s=0.2)


def test_a_request_whose_work_does_not_end_is_answered(ros_domain):
    with started(SlowNode) as harness:
        for _ in range(2):
            answer = harness.call(LoadMap, "slow_node/slow", LoadMap.Request())
            assert answer.code == LoadMap.Response.UNDEFINED
            assert "given up after 0.2 s" in answer.message
        harness.node.done.set()
        assert harness.node.guard.refused == {"slow": 2}
        assert harness.node.guard.failures == {}


class FakeNode:
    """Stands for a node and its logger."""

    def __init__(self):
        self.lines = []
        self.error = self.warning = self.info = self.lines.append

    def get_logger(self):
        return self


def test_a_flood_of_warnings_becomes_one_a_second(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])
    node, log = FakeNode(), logging.getLogger("visloc_ros.flood")
    handler = base.RosLogHandler(node)
    monkeypatch.setattr(log, "propagate", False)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    for index in range(100):
        now[0] += 0.025
        log.warning("flood %d", index)
    log.warning("something else")
    for index in range(3):
        log.info("step %d", index)
    log.removeHandler(handler)
    assert node.lines[0] == "flood 0"
    assert node.lines[1] == "flood 40 (and 39 more like it)"
    assert node.lines[2] == "flood 80 (and 39 more like it)"
    assert node.lines[3:] == ["something else", "step 0", "step 1", "step 2"]
