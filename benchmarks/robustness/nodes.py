"""Plays a scenario as a bag to the real nodes, and kills the anchor node while there shall be no anchors.

The restarted node loads its map and its networks before it answers.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from benchmarks.robustness.scenarios import Scenario, SplicedSequence
from visloc_ros.apps.replay import LOOPBACK_ONLY, ReplayPlan, free_domain_id, replay
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.evaluation import RunRecord
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_writer import write_bag

KILLED_NODE = "visloc_ros.nodes.anchor_node"


def replay_scenario(scenario: Scenario, splice: SplicedSequence, map_path: Path, bag: Path) -> RunRecord:
    """Write the scenario as a bag and play it to the nodes at the speed of the camera."""
    write_bag(splice, bag, splice.ground_truth, overwrite=True)
    plan = ReplayPlan(map_path, bag, domain_id=free_domain_id())
    gone = scenario.anchors_gone
    if gone is None:
        return replay(plan, BagSource(bag, SourceConfig()), splice.ground_truth)
    with killed_at(gone.begin_s, plan.domain_id):
        plan = replace(plan, restart_after_s=gone.end_s - gone.begin_s)
        return replay(plan, BagSource(bag, SourceConfig()), splice.ground_truth)


@contextmanager
def killed_at(begin_s: float, domain_id: int) -> Iterator[None]:
    """Kill the anchor node of this process's replay at a time since the bag's begin."""
    os.environ.update(LOOPBACK_ONLY | fast_dds_profile())
    context = Context()
    context.init(domain_id=domain_id)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(Killer(begin_s, context))
    thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        context.try_shutdown()
        thread.join()


class Killer(Node):
    """Subscribes to the bag's clock, and kills the anchor node once, at its time."""

    def __init__(self, begin_s: float, context: Context) -> None:
        super().__init__("killer", context=context)
        self._begin_s, self._first_ns, self._is_done = begin_s, 0, False
        self.create_subscription(Clock, "/clock", self._take_clock, RELIABLE)

    def _take_clock(self, message: Clock) -> None:
        now_ns = message.clock.sec * NANOSECONDS + message.clock.nanosec
        self._first_ns = self._first_ns or now_ns
        if not self._is_done and now_ns - self._first_ns >= self._begin_s * NANOSECONDS:
            self._is_done = True
            anchor_node().kill()


def anchor_node() -> psutil.Process:
    """The process of the anchor node that this process has started."""
    children = psutil.Process().children(recursive=True)
    return next(child for child in children if KILLED_NODE in " ".join(child.cmdline()))


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return
