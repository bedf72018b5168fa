"""Which nodes a replay starts, and with what parameters."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from visloc_ros.apps.replay import Layout, ReplayPlan, _specs

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


@pytest.mark.parametrize(("search", "told"), [("landmarks", {"anchor.search": "landmarks"}), ("", {})])
@pytest.mark.parametrize("layout", Layout)
def test_the_node_that_searches_is_told_how(search, told, layout):
    specs = _specs(ReplayPlan(Path("maps/office"), Path("bag"), search=search, layout=layout), BAG, Path("recording"))
    given = [spec.parameters for spec in specs if "map_path" in spec.parameters]
    assert [{name: one[name] for name in one if name == "anchor.search"} for one in given] == [told]
