"""No node stops silently: what hangs in it, or ends in it, is said, and then the process ends to be restarted."""

import subprocess
import sys
import threading
from subprocess import PIPE

import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_harness import read_until, started

from visloc_ros.core import watchdog
from visloc_ros.core.config import Config
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.worker import Worker

TIMEOUT_S = 120.0

PROGRAM = """
import ctypes, sys, threading, time
from visloc_ros.core import watchdog
from visloc_ros.core.config import Config
from visloc_ros.nodes.base import VislocNode, run

watchdog.SILENCE_S, watchdog.HUNG_S = 3.0, 0.5


class Stuck(VislocNode):
    default_name, config_type = "stuck_node", Config

    def activate(self):
        work = self.worker("image", lambda item: self.fail(item), 1, is_vital={vital})
        self.timer(0.1, lambda: self.fail("timer") or work.put("worker"))

    def fail(self, where):
        if where == {where!r}:
            stuck()


def stuck():
    {hang}


run(Stuck)
"""


def run_stuck(where, hang, vital=True):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(where=where, hang=hang, vital=vital)], stdout=PIPE, stderr=PIPE, text=True
    )


@pytest.mark.parametrize(
    ("where", "hang"),
    [
        ("timer", "time.sleep(600)"),
        ("worker", "threading.Event().wait()"),
        ("worker", "ctypes.PyDLL(None).sleep(600)"),
        ("worker", "sys.exit()"),
    ],
    ids=["callback", "worker", "native code", "thread that ends"],
)
def test_a_node_in_which_something_hangs_ends_with_an_error(ros_domain, where, hang):
    with run_stuck(where, hang) as running:
        try:
            _, words = running.communicate(timeout=TIMEOUT_S)
        finally:
            running.kill()
    assert running.returncode == watchdog.EXIT_CODE, words
    assert "Timeout" in words
    assert "in stuck" in words or "exit" in hang


def test_what_a_node_can_do_without_ends_nothing(ros_domain, talking_middleware):
    with run_stuck("worker", "threading.Event().wait(8.0); print('waited', flush=True)", vital=False) as running:
        try:
            read_until(running, "waited")
        finally:
            running.kill()


class HangingNode(VislocNode):
    """Hangs on each item of work."""

    default_name = "hanging_node"
    config_type = Config

    def activate(self):
        self.go_on = threading.Event()
        self.work = self.worker("image", lambda _: self.go_on.wait(TIMEOUT_S), capacity=2)
        publish_diagnostics(self, lambda: ("ok", "Tracking.", {}))


def test_work_that_hangs_is_an_error_in_the_diagnostics_until_it_goes_on(ros_domain, monkeypatch):
    monkeypatch.setattr(watchdog, "HUNG_S", 0.5)
    with started(HangingNode) as harness:
        arrays = harness.received(DiagnosticArray, "/diagnostics")
        harness.wait_for(lambda: arrays and arrays[-1].status[0].message == "Tracking.", "diagnostics")
        harness.node.work.put(1)
        harness.wait_for(lambda: arrays[-1].status[0].level == DiagnosticStatus.ERROR, "error")
        assert "the work on one image has been running for" in arrays[-1].status[0].message
        assert harness.node.is_stuck
        harness.node.go_on.set()
        harness.wait_for(lambda: arrays[-1].status[0].message == "Tracking.", "end of the error")
        assert not harness.node.is_stuck


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_is_a_problem():
    def end(_):
        raise SystemExit

    worker = Worker(end, 1, name="keyframe")
    assert worker.problem is None
    worker.put(0)
    for thread in threading.enumerate():
        if thread.name == "visloc worker":
            thread.join(1.0)
    assert worker.problem == ("error", "The thread that works on each keyframe has ended.")
    worker.close()
