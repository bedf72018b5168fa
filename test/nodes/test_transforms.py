"""Transforms of others: at the stamp that is asked for, along moving and fixed edges, or not at all."""

import threading

import pytest

pytest.importorskip("rclpy")

from node_harness import started
from tf2_msgs.msg import TFMessage

from visloc_ros.core.config import Config
from visloc_ros.core.geometry import SE3
from visloc_ros.core.transform_tree import MOST_FRAMES
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import transform_to_msg
from visloc_ros.nodes.qos import TF, TF_STATIC
from visloc_ros.nodes.transforms import MovingTransforms, StaticTransforms

SECOND = 1_000_000_000
FOOTPRINT_FROM_BASE = SE3.from_rotation_vector([0.0, 0.1, 0.0], [0.0, 0.0, 0.2])


def odom_from_footprint(seconds: float) -> SE3:
    return SE3.from_rotation_vector([0.0, 0.0, 0.5 * seconds], [seconds, 0.0, 0.0])


class ListeningNode(VislocNode[Config]):
    default_name = "listening_node"
    config_type = Config

    def configure(self) -> None:
        self.static = StaticTransforms(self)
        self.moving = MovingTransforms(self, self.static)


@pytest.fixture
def moving(ros_domain):
    """Transforms of a base at 10, 11 and 12 s, the middle one sent once more and one too late."""
    with started(ListeningNode) as harness:
        fixed, sent = harness.publisher(TFMessage, "/tf_static", TF_STATIC), harness.publisher(TFMessage, "/tf", TF)
        fixed.publish(TFMessage(transforms=[transform_to_msg(0, "footprint", "base", FOOTPRINT_FROM_BASE)]))
        for seconds in (10.0, 11.0, 11.0, 10.5, 12.0):
            stamp_ns = round(seconds * SECOND)
            moved = transform_to_msg(stamp_ns, "odom", "footprint", odom_from_footprint(seconds))
            sent.publish(TFMessage(transforms=[moved]))
        node = harness.node
        harness.wait_for(lambda: node.static.parent_of("base"), "fixed transform")
        harness.wait_for(lambda: node.moving.lookup("odom", "footprint", 12 * SECOND), "newest transform")
        yield node.moving


def test_a_chain_of_moving_and_fixed_edges_is_composed_at_the_stamp(moving):
    for seconds in (10.0, 11.0, 11.25, 12.0):
        found = moving.lookup("odom", "base", round(seconds * SECOND))
        assert found.is_close(odom_from_footprint(seconds) @ FOOTPRINT_FROM_BASE, 1e-6, 1e-4)
    assert moving.lookup("footprint", "base", 0).is_close(FOOTPRINT_FROM_BASE, 1e-9, 1e-6)


def test_nothing_is_extrapolated_or_made_up(moving):
    assert moving.lookup("odom", "base", round(9.9 * SECOND)) is None
    assert moving.lookup("odom", "base", round(12.1 * SECOND)) is None
    for ancestor, frame in (("odom", "camera"), ("map", "base"), ("base", "odom")):
        assert moving.lookup(ancestor, frame, 11 * SECOND) is None


def test_names_without_end_do_not_fill_the_memory_and_the_log(ros_domain, capfd):
    with started(ListeningNode) as harness:
        fixed, sent = harness.publisher(TFMessage, "/tf_static", TF_STATIC), harness.publisher(TFMessage, "/tf", TF)
        broken = transform_to_msg(0, "base", "nowhere" * 1000, FOOTPRINT_FROM_BASE)
        broken.transform.rotation.w = float("nan")
        for first in range(0, MOST_FRAMES + 2000, 1000):
            made = [transform_to_msg(SECOND, "base", f"frame {n}", SE3.identity()) for n in range(first, first + 1000)]
            sent.publish(TFMessage(transforms=made))
            fixed.publish(TFMessage(transforms=[*made, broken]))
        last = transform_to_msg(SECOND, "base", "frame 0", FOOTPRINT_FROM_BASE)
        fixed.publish(TFMessage(transforms=[last]))
        moved = transform_to_msg(2 * SECOND, "base", "frame 0", FOOTPRINT_FROM_BASE)
        sent.publish(TFMessage(transforms=[moved]))
        node = harness.node
        harness.wait_for(lambda: node.static.lookup("base", "frame 0") is not None, "fixed transform")
        harness.wait_for(lambda: node.static.lookup("base", "frame 0").is_close(FOOTPRINT_FROM_BASE), "last transform")
        harness.wait_for(lambda: node.moving.lookup("base", "frame 0", 2 * SECOND), "last moving transform")
        assert node.static.parent_of(f"frame {MOST_FRAMES - 1}") is not None
        assert node.static.parent_of(f"frame {MOST_FRAMES}") is None
        assert node.moving.lookup("base", f"frame {MOST_FRAMES}", SECOND) is None
    said = [line for line in capfd.readouterr().err.splitlines() if "left out" in line]
    assert len(said) in (1, 2)
    assert max(map(len, said)) < 400


def test_transforms_are_looked_up_while_others_come_and_the_clock_jumps(ros_domain):
    """Each message throws away the history, or adds to it: no look-up may meet it half done."""
    with started(ListeningNode) as harness:
        moving, done = harness.node.moving, threading.Event()

        def receive():
            for count in range(4000):
                seconds = 100.0 - 10.0 * (count % 2) + 0.001 * count
                moved = transform_to_msg(round(seconds * SECOND), "odom", "footprint", odom_from_footprint(seconds))
                moving._take(TFMessage(transforms=[moved]))
            done.set()

        thread = threading.Thread(target=receive)
        thread.start()
        while not done.is_set():
            moving.lookup("odom", "footprint", 100 * SECOND)
        thread.join()
