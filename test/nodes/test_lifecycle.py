"""Transitions and signals, as ROS's lifecycle tools, systemd and docker send them, to nodes and to their processes."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from subprocess import PIPE

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_harness import TIMEOUT_S, Harness, read_until, started
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from visloc_ros.core.config import Config
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.fusion_node import FusionNode


def change_to(transition: int) -> ChangeState.Request:
    return ChangeState.Request(transition=Transition(id=transition))


def change(harness: Harness, node: str, transition: int) -> bool:
    return harness.call(ChangeState, f"{node}/change_state", change_to(transition)).success


def state_of(harness: Harness, node: str) -> int:
    return harness.ask(GetState, f"{node}/get_state", GetState.Request()).current_state.id


@contextmanager
def process(module: str):
    """A process of nodes, and a harness with a probe that talks to it over DDS."""
    program = f"from visloc_ros.nodes.{module} import main; main()"
    # A node that is asked before DDS has introduced the probe to it cannot answer; the probe asks again.
    quiet = ["-W", "ignore:failed to send response:RuntimeWarning"]
    running = subprocess.Popen([sys.executable, *quiet, "-c", program], stderr=PIPE, text=True)
    rclpy.init(args=[])
    probe, executor = Node("probe", namespace="visloc"), SingleThreadedExecutor()
    executor.add_node(probe)
    try:
        yield running, Harness([probe], probe, executor)
    finally:
        running.kill()
        running.communicate()
        probe.destroy_node()
        rclpy.shutdown()


def test_a_transition_that_is_not_possible_is_refused_and_the_node_lives_on(ros_domain):
    with started(FusionNode) as harness:
        assert not change(harness, "fusion_node", Transition.TRANSITION_ACTIVATE)
        assert not change(harness, "fusion_node", Transition.TRANSITION_CONFIGURE)
        assert state_of(harness, "fusion_node") == State.PRIMARY_STATE_ACTIVE
        assert change(harness, "fusion_node", Transition.TRANSITION_DEACTIVATE)
        assert not harness.node.guard.failures


class SlowNode(VislocNode):
    """Is asked while it is configured."""

    default_name, config_type = "slow_node", Config
    meanwhile = staticmethod(lambda: None)

    def configure(self):
        self.meanwhile()


def test_every_request_that_comes_during_a_long_transition_is_answered(ros_domain):
    """Beyond the ten that DDS keeps."""
    states, changes = [], []
    with started(SlowNode) as harness:
        get_state, change_state = (
            harness._client(kind, f"slow_node/{name}")
            for kind, name in ((GetState, "get_state"), (ChangeState, "change_state"))
        )

        def ask_often():
            for count in range(1, 16):
                states.append(get_state.call_async(GetState.Request()))
                changes.append(change_state.call_async(change_to(Transition.TRANSITION_ACTIVATE)))
                deadline = time.monotonic() + TIMEOUT_S
                while len(harness.node._requests._waiting) < 2 * count:
                    assert time.monotonic() < deadline, f"request {count} is not taken"

        assert change(harness, "slow_node", Transition.TRANSITION_DEACTIVATE)
        assert change(harness, "slow_node", Transition.TRANSITION_CLEANUP)
        harness.node.meanwhile = ask_often
        assert change(harness, "slow_node", Transition.TRANSITION_CONFIGURE)
        harness.wait_for(lambda: all(one.done() for one in (*states, *changes)), "answers")
        assert [one.result().success for one in changes] == [True, *[False] * 14]
        assert states[-1].result().current_state.id == State.PRIMARY_STATE_ACTIVE


def test_a_node_that_is_shut_down_sends_nothing_any_more(ros_domain):
    with started(FusionNode) as harness:
        harness.wait_for(lambda: harness.probe.count_publishers("/tf"), "publisher of /tf")
        assert change(harness, "fusion_node", Transition.TRANSITION_ACTIVE_SHUTDOWN)
        harness.wait_for(lambda: not harness.probe.count_publishers("/tf"), "end of /tf")
        assert state_of(harness, "fusion_node") == State.PRIMARY_STATE_FINALIZED


def test_a_process_ends_when_its_last_node_is_shut_down(ros_domain):
    with process("localization_node") as (running, harness):
        for node in ("fusion_node", "odometry_node"):
            harness.wait_for(lambda node=node: state_of(harness, node) == State.PRIMARY_STATE_ACTIVE, f"active {node}")
        assert change(harness, "fusion_node", Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert state_of(harness, "odometry_node") == State.PRIMARY_STATE_ACTIVE
        assert change(harness, "odometry_node", Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert running.wait(TIMEOUT_S) == 0


REPORT_START = """
from visloc_ros.nodes import base
serve = base.serve
base.serve = lambda *arguments: (print("started", flush=True), serve(*arguments))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("module", ["localization_node", "map_builder_node"])
def test_a_process_that_is_told_to_stop_does_so_cleanly_and_without_a_word(
    ros_domain, talking_middleware, module, number
):
    """It tells when its nodes are active: over DDS, that may be heard 3 s later."""
    program = f"{REPORT_START}from visloc_ros.nodes.{module} import main; main()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=PIPE, stderr=PIPE, text=True) as running:
        try:
            read_until(running, "started")
            running.send_signal(number)
            _, words = running.communicate(timeout=TIMEOUT_S)
        finally:
            running.kill()
    assert running.returncode == 0, words
    assert not [line for line in words.splitlines() if "[INFO]" not in line and "[WARN]" not in line]
