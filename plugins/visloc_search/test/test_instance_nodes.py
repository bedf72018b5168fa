"""The anchor node searches by instances: their colours are on its points and in its picture."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_harness import COMPRESSED, started

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.nodes import conversions
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.anchor_output import draw_inliers
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_images import decode_compressed

ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")


def test_points_inliers_and_the_picture_have_the_colours_of_instances(instance_room, ros_domain):
    frame = ROOM.frame(1)
    with started(
        AnchorNode, "-p", f"map_path:={instance_room}", "-p", "anchor.search:=instances", *COMPRESSED
    ) as harness:
        anchor, cloud, picture = harness.anchor_and_picture(frame)
        place = harness.node._engine.map
    assert len(np.unique(place.point_labels)) > 4
    shown, colours = conversions.coloured_points_from_msg(cloud)
    assert np.allclose(shown, place.points, atol=1e-5)
    assert np.array_equal(colours, landmark_colours(place.point_labels))
    assert anchor.map_from_camera.is_close(ROOM.pose(1), 0.05, 1.0)
    rows = [np.linalg.norm(place.points - point, axis=1).argmin() for point in anchor.inlier_points]
    assert np.array_equal(anchor.inlier_landmarks, place.point_labels[rows])
    drawn, expected = (
        image.astype(int) for image in (decode_compressed("jpeg", picture.data), draw_inliers(frame, anchor))
    )
    assert np.abs(drawn - expected).mean() < 5.0  # JPEG, twice
    changed = np.abs(expected - frame.rgb.astype(int)).max(axis=2) > 60
    assert changed.sum() > 10 * len(np.unique(anchor.inlier_landmarks))
