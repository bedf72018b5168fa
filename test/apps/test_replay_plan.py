"""Which nodes a replay starts, and with what parameters."""

import socket
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from visloc_ros.apps import replay
from visloc_ros.apps.replay import DDS_PORT, Layout, ReplayPlan, _specs, free_domain_id
from visloc_ros.core.errors import SetupError

BAG = SimpleNamespace(
    compressed=True, image_topic="/eye/image/compressed", camera_info_topic="/eye/info", frame_id="eye"
)


@pytest.mark.parametrize(("map_tracking", "map_path"), [(True, "maps/office"), (False, "")])
def test_map_tracking_is_left_out_by_giving_the_odometry_no_map(map_tracking, map_path):
    plan = ReplayPlan(Path("maps/office"), Path("bag"), map_tracking=map_tracking)
    nodes = {spec.name: spec for spec in _specs(plan, BAG, Path("recording"))}
    assert set(nodes) == {"localization_node", "anchor_node", "replay_node"}
    assert nodes["localization_node"].parameters["map_tracking.map_path"] == map_path
    assert nodes["anchor_node"].parameters["map_path"] == "maps/office"


@pytest.mark.parametrize(("search", "told"), [("another", {"anchor.search": "another"}), ("", {})])
@pytest.mark.parametrize("layout", Layout)
def test_the_node_that_searches_is_told_how(search, told, layout):
    specs = _specs(ReplayPlan(Path("maps/office"), Path("bag"), search=search, layout=layout), BAG, Path("recording"))
    given = [spec.parameters for spec in specs if "map_path" in spec.parameters]
    assert [{name: one[name] for name in one if name == "anchor.search"} for one in given] == [told]


def test_a_domain_is_chosen_that_no_other_replay_uses(monkeypatch):
    """Also of two processes with the same number, as in two containers that share the host's network."""
    monkeypatch.setattr(replay, "MOST_DOMAINS", 4)
    with ExitStack() as stack:
        for domain in (1, 2, 4):
            taken = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken.bind(("", DDS_PORT + 250 * domain + 10))
        assert {free_domain_id() for _ in range(20)} == {3}
        last = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        last.bind(("", DDS_PORT + 250 * 3 + 10))
        with pytest.raises(SetupError, match="--domain-id"):
            free_domain_id()
