"""A scenario as a bag through the real nodes, the anchor node frozen while there shall be no anchors.

A frozen process (SIGSTOP) looks to the others like a dead one, and comes back with what it was at: an anchor that is
then very late.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from robustness_scenarios import Scenario, Splice
from rosgraph_msgs.msg import Clock

from visloc_ros.apps.replay import LOOPBACK_ONLY, ReplayPlan, own_domain_id, replay
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.evaluation import RunRecord
from visloc_ros.evaluation.robustness import Incident
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_writer import write_bag

FROZEN_NODE = "visloc_ros.nodes.anchor_node"


def replay_scenario(scenario: Scenario, splice: Splice, map_path: Path, bag: Path) -> RunRecord:
    """Write the scenario as a bag and play it to the nodes at the speed of the camera."""
    write_bag(splice, bag, splice.ground_truth, overwrite=True)
    plan = ReplayPlan(map_path, bag, domain_id=own_domain_id())
    gone = scenario.anchors_gone
    with frozen_during(gone, plan.domain_id) if gone is not None else nullcontext():
        return replay(plan, BagSource(bag, SourceConfig()), splice.ground_truth)


@contextmanager
def frozen_during(gone: Incident, domain_id: int) -> Iterator[None]:
    """Freeze the anchor node of this process's replay for a while of the bag's time."""
    os.environ.update(LOOPBACK_ONLY)
    context = rclpy.Context()
    context.init(domain_id=domain_id)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(Freezer(gone, context))
    thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        context.try_shutdown()
        thread.join()


class Freezer(Node):
    """Hears the bag's clock, and stops and continues the anchor node by it."""

    def __init__(self, gone: Incident, context: rclpy.Context) -> None:
        super().__init__("freezer", context=context)
        self._gone, self._begin_ns, self._frozen = gone, 0, False
        self.create_subscription(Clock, "/clock", self._take_clock, RELIABLE)

    def _take_clock(self, message: Clock) -> None:
        now_ns = message.clock.sec * NANOSECONDS + message.clock.nanosec
        self._begin_ns = self._begin_ns or now_ns
        seconds = (now_ns - self._begin_ns) / NANOSECONDS
        frozen = self._gone.begin_s <= seconds < self._gone.end_s
        if frozen is not self._frozen:
            self._frozen = frozen
            anchor_node().send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)


def anchor_node() -> psutil.Process:
    """The process of the anchor node that this process has started."""
    children = psutil.Process().children(recursive=True)
    return next(child for child in children if FROZEN_NODE in child.cmdline())


def _spin(executor: SingleThreadedExecutor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        return
