"""A map that is deleted under a running anchor node, and parameters that nobody would set."""

import math
import shutil

import pytest

pytest.importorskip("rclpy")

from node_harness import DEMO_MAP, localize_request, started
from rclpy.parameter import Parameter

from visloc_msgs.srv import LoadMap, Localize, SaveMap
from visloc_ros.core.map_archive import unpacked
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.simulation import SimulationConfig, simulate

NONSENSE = (math.nan, math.inf, -1e308, 2**62, -1, "", "nonsense", "x" * 10_000, True, [1.0, 2.0], ["a"], [b"\xff"])


def test_a_map_that_is_deleted_goes_on_being_used_and_says_that_it_is_gone(tmp_path, ros_domain):
    place = tmp_path / "room"
    with unpacked(DEMO_MAP) as room:
        shutil.copytree(room, place)
    request = localize_request(simulate(SimulationConfig(duration_s=1.0, rate_hz=2.0), "map").frame(1))
    with started(AnchorNode, "-p", f"map_path:={place}") as harness:
        shutil.rmtree(place)
        assert harness.call(Localize, "anchor_node/localize", request).anchor.accepted
        saved = harness.call(SaveMap, "anchor_node/save_map", SaveMap.Request(path=str(tmp_path / "a.tar.gz")))
        assert saved.code == SaveMap.Response.MAP_UNAVAILABLE, saved.message
        assert not (tmp_path / "a.tar.gz").exists()
        loaded = harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(place)))
        assert (loaded.code, "stays loaded" in loaded.message) == (LoadMap.Response.MAP_DOES_NOT_EXIST, True)
        assert harness.call(Localize, "anchor_node/localize", request).anchor.accepted


@pytest.mark.parametrize("node_type", [FusionNode, OdometryNode, MapBuilderNode, AnchorNode])
def test_no_value_of_a_parameter_ends_a_node(ros_domain, node_type, tmp_path, monkeypatch):
    """Each is refused, or the node is not configured with it and says why; then a good one is taken."""
    monkeypatch.chdir(tmp_path)
    with started(node_type, "-p", "autostart:=false", succeeds=node_type is not AnchorNode) as harness:
        node = harness.node
        node.release()
        if node_type is not AnchorNode:
            node.trigger_deactivate()
            node.trigger_cleanup()
        names = ["config_file", *(item.name for item in node._options._options)]
        refused = 0
        for name in names:
            before = node.get_parameter(name)
            for value in NONSENSE:
                (result,) = node.set_parameters([Parameter(name, value=value)])
                refused += not result.successful
                assert result.successful or result.reason
            assert node.set_parameters([before])[0].successful
        assert refused > len(names) * len(NONSENSE) / 2
        assert not node.guard.failures
        if node_type is not AnchorNode:
            assert node.start()
