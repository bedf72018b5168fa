"""The anchor node colours points and inliers by their labels, if the search labels any."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_harness import DEMO_MAP, started
from sensor_msgs.msg import PointCloud2

from visloc_ros.core.camera import camera_from_calibration
from visloc_ros.core.geometry import SE3
from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.nodes import anchor_output, conversions
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.qos import LATCHED


def test_inliers_are_drawn_in_the_colours_of_their_landmarks():
    camera = camera_from_calibration(64, 48, [[60.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]])
    frame = Frame(1, np.zeros((48, 64, 3), np.uint8), camera)
    pixels, landmarks = np.array([[16.5, 24.5], [48.5, 24.5]]), np.array([1, 2], np.int32)
    anchor = AnchorPose(1, SE3.identity(), np.eye(6), 2, 2, 1.0, pixels, np.zeros((2, 3)), inlier_landmarks=landmarks)
    plain = replace(anchor, inlier_landmarks=np.empty(0, np.int32))
    for one, colours in ((anchor, landmark_colours(landmarks)), (plain, np.array([anchor_output.INLIER_COLOUR] * 2))):
        drawn = anchor_output.draw_inliers(frame, one)[24, [19, 51]].astype(float)  # where the circles are, on black
        assert drawn.max(axis=1).min() > 100.0
        assert np.allclose(unit(drawn), unit(colours), atol=0.03)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_points_are_grey_if_the_search_labels_none(ros_domain):
    with started(AnchorNode, "-p", f"map_path:={DEMO_MAP}") as harness:
        clouds = harness.received(PointCloud2, "map_points", LATCHED)
        harness.wait_for(lambda: clouds, "latched map points")
    points, colours = conversions.coloured_points_from_msg(clouds[0])
    assert len(points) == len(open_map(DEMO_MAP).points)
    assert len(np.unique(colours)) == 1
