"""The anchor node searches by landmarks, tells and draws them, and refuses maps that have none."""

from itertools import islice

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_harness import COMPRESSED, DEMO_MAP, localize_request, started
from rclpy.logging import get_logger

from visloc_msgs.srv import LoadMap, Localize
from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.localization.searchable_map import reduce_map_to
from visloc_ros.nodes import conversions
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.map_tracking import FollowedMap
from visloc_ros.simulation import SimulationConfig, simulate

ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")
BY_LANDMARKS = ("-p", "anchor.search:=landmarks")


def test_an_image_is_found_by_landmarks_and_they_are_reported_and_drawn(landmark_room, ros_domain):
    frame = ROOM.frame(1)
    with started(AnchorNode, "-p", f"map_path:={landmark_room}", *BY_LANDMARKS, *COMPRESSED) as harness:
        anchor, cloud, _ = harness.anchor_and_picture(frame)
        labels, points = harness.node._engine.map.point_labels, harness.node._engine.map.points
    assert anchor.map_from_camera.is_close(ROOM.pose(1), 0.05, 1.0)
    assert len(anchor.inlier_landmarks) == anchor.num_inliers
    shown, colours = conversions.coloured_points_from_msg(cloud)
    assert np.allclose(shown, points, atol=1e-5)
    assert np.array_equal(colours, landmark_colours(labels))
    for point, landmark in islice(zip(anchor.inlier_points, anchor.inlier_landmarks, strict=True), 20):
        row = np.linalg.norm(points - point, axis=1).argmin()
        assert labels[row] == landmark


def test_a_map_without_landmarks_is_refused_with_the_command_that_makes_them(ros_domain, capfd):
    with started(AnchorNode, "-p", f"map_path:={DEMO_MAP}", *BY_LANDMARKS, succeeds=False):
        pass
    output = "".join(capfd.readouterr())
    assert "visloc prepare MAP --for landmarks" in output
    assert "Traceback" not in output


def test_a_map_reduced_to_landmarks_is_loaded_and_its_points_are_followed(landmark_room, ros_domain, tmp_path):
    small = tmp_path / "small"
    reduce_map_to(landmark_room, "landmarks", small)
    with started(AnchorNode, "-p", f"map_path:={landmark_room}", *BY_LANDMARKS) as harness:
        loaded = harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(small)))
        assert loaded.code == LoadMap.Response.SUCCESS, loaded.message
        followed = FollowedMap(small, get_logger("test")).map
        assert np.array_equal(followed.points, harness.node._engine.map.points)


def test_load_map_of_a_map_without_landmarks_keeps_the_old_one(landmark_room, ros_domain):
    with started(AnchorNode, "-p", f"map_path:={landmark_room}", *BY_LANDMARKS) as harness:
        answer = harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(DEMO_MAP)))
        assert answer.code == LoadMap.Response.INVALID_MAP_DATA
        assert "visloc prepare MAP --for landmarks" in answer.message
        assert "'demo_room' stays loaded" in answer.message
        anchor = harness.call(Localize, "anchor_node/localize", localize_request(ROOM.frame(1))).anchor
        assert anchor.accepted
        assert anchor.map_path == str(landmark_room)
        assert len(anchor.inlier_landmarks) == anchor.num_inliers
        loaded = harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(landmark_room)))
        assert loaded.code == LoadMap.Response.SUCCESS, loaded.message
