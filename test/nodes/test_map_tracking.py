"""Map points followed in the odometry node over DDS: images, fused poses, an anchor in; poses in the map out."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from node_harness import started
from room_versions import unpacked_room, write_second_version
from tracking_robot import ARGUMENTS, DEMO_MAP, RELIABLE_RAW, SMALL, Robot

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Reason, Rejection, TrackedPose
from visloc_ros.nodes.conversions import tracked_pose_to_msg
from visloc_ros.nodes.map_tracking import FollowedMap
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.simulation import simulate
from visloc_ros.sources import ros_messages
from visloc_ros.sources.ros_messages import tracked_pose_from_msg


@pytest.fixture(scope="module")
def walk():
    """Eight frames of another walk through the demo map's room."""
    simulation = simulate(SMALL, "localize")
    return simulation, [simulation.frame(index) for index in range(8)]


@pytest.fixture
def robot(ros_domain):
    with started(OdometryNode, *ARGUMENTS) as harness:
        yield Robot(harness)


def test_points_of_an_anchor_are_followed_until_the_clock_jumps_back(robot, walk):
    simulation, frames = walk
    before = [robot.track(frame, simulation.pose(index)) for index, frame in enumerate(frames[:3])]
    assert [result.reason for result in before] == [Reason.FEW_MATCHES] * 3
    robot.find(frames[1], simulation.pose(1))
    for index in range(3, 8):
        result = robot.track(frames[index], simulation.pose(index))
        assert isinstance(result, TrackedPose)
        assert result.anchor_stamp_ns == frames[1].stamp_ns
        assert result.map_from_camera.is_close(simulation.pose(index), 0.05, 1.0)
    assert robot.node._report()[2]["map tracking: tracked"] == 5
    looped = replace(frames[2], stamp_ns=frames[0].stamp_ns - 10 * NANOSECONDS)
    assert robot.track(looped, simulation.pose(2)).reason is Reason.FEW_MATCHES
    assert robot.node._report()[2]["clock jump"] == 1


@pytest.fixture
def hall(tmp_path):
    """The demo map under another name."""
    folder = tmp_path / "hall"
    shutil.unpack_archive(DEMO_MAP, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": "hall"}))
    return folder


def test_points_of_another_map_are_followed_once_anchors_come_from_it(robot, walk, hall):
    simulation, frames = walk
    robot.track(frames[0], simulation.pose(0))
    robot.find(frames[0], simulation.pose(0), "hall", hall)
    assert robot.track(frames[1], simulation.pose(1)).reason is Reason.FEW_MATCHES
    robot.harness.wait_for(lambda: not robot.node._followed._loading.is_alive(), "map")
    robot.track(frames[2], simulation.pose(2))
    robot.find(frames[2], simulation.pose(2), "hall", hall)
    result = robot.track(frames[3], simulation.pose(3))
    assert isinstance(result, TrackedPose)
    assert result.map_from_camera.is_close(simulation.pose(3), 0.05, 1.0)
    assert robot.node._report()[2]["map tracking: map"] == "hall"


def test_points_are_followed_without_a_gap_while_the_map_is_updated(ros_domain, walk, tmp_path):
    """What is followed leads on until an anchor comes that was found in the map after the update."""
    simulation, frames = walk
    folder = unpacked_room(tmp_path / "room")
    with started(OdometryNode, "-p", f"map_tracking.map_path:={folder}", *RELIABLE_RAW) as harness:
        robot, followed = Robot(harness), harness.node._followed
        before = followed.map
        robot.track(frames[0], simulation.pose(0))
        robot.find(frames[0], simulation.pose(0))
        results = [robot.track(frames[1], simulation.pose(1))]
        write_second_version(folder)
        results.append(robot.track(frames[2], simulation.pose(2)))  # it begins to load
        harness.wait_for(lambda: not followed._loading.is_alive(), "version")
        results.append(robot.track(frames[3], simulation.pose(3)))
        assert followed.map.manifest.version == 2
        assert len(followed.map.points) < len(before.points)
        robot.find(frames[3], simulation.pose(3))
        results += [robot.track(frames[index], simulation.pose(index)) for index in range(4, 8)]
    for index, result in enumerate(results, 1):
        assert isinstance(result, TrackedPose)
        assert result.map_from_camera.is_close(simulation.pose(index), 0.05, 1.0)
    assert results[-1].anchor_stamp_ns == frames[3].stamp_ns


def test_a_map_in_another_frame_in_its_place_is_not_followed(robot, tmp_path):
    folder = unpacked_room(tmp_path / "room")
    followed = FollowedMap(folder, robot.node.get_logger())
    before = followed.map
    write_second_version(folder, SE3.from_quaternion([0.5, 0.5, -0.5, 0.5], [1.0, 2.0, 3.0]))
    assert followed.take() is None
    robot.harness.wait_for(lambda: not followed._loading.is_alive(), "map")
    assert followed.take() is None
    assert followed.take() is None  # it is tried once
    assert followed._loading is None
    assert followed.map is before


def test_another_map_that_is_not_here_is_tried_once_and_the_old_one_is_followed_again(robot, walk, tmp_path):
    simulation, frames = walk
    for index in range(3):
        robot.track(frames[index], simulation.pose(index))
        robot.find(frames[index], simulation.pose(index), "hall", tmp_path / "absent")
    robot.track(frames[3], simulation.pose(3))
    assert robot.node._report()[2]["map tracking: anchor of another map"] == 3
    robot.find(frames[3], simulation.pose(3))
    assert isinstance(robot.track(frames[4], simulation.pose(4)), TrackedPose)


def test_anchors_that_nothing_bears_out_are_not_followed(robot, walk):
    """One a metre from the fused pose, one of another map."""
    simulation, frames = walk
    robot.track(frames[0], simulation.pose(0))
    wrong = SE3(simulation.pose(0).rotation, simulation.pose(0).translation + np.array([1.0, 0.0, 0.0]))
    robot.find(frames[0], wrong)
    assert isinstance(robot.track(frames[1], simulation.pose(1)), Rejection)
    robot.find(frames[0], simulation.pose(0), map_name="elsewhere")
    assert isinstance(robot.track(frames[2], simulation.pose(2)), Rejection)
    values = robot.node._report()[2]
    assert values["map tracking: anchor contradicts the fused pose"] == 1
    assert values["map tracking: anchor of another map"] == 1


@pytest.mark.parametrize("arguments", [(), ("-p", "map_tracking.enabled:=false", *ARGUMENTS)])
def test_odometry_goes_alone_without_a_map_or_where_nothing_is_to_be_followed(ros_domain, arguments):
    with started(OdometryNode, *arguments) as harness:
        assert not harness.probe.count_publishers("map_tracking")


def test_a_map_that_is_not_there_keeps_the_node_from_starting(ros_domain, tmp_path):
    with started(OdometryNode, "-p", f"map_tracking.map_path:={tmp_path / 'absent'}", succeeds=False):
        pass


def test_a_tracked_pose_round_trips():
    pose = SE3.from_quaternion([0.5, 0.5, -0.5, 0.5], [1.0, 2.0, 3.0])
    covariance = np.arange(36.0).reshape(6, 6)
    result = TrackedPose(10**18 + 1, pose, 2 * covariance, 10**18, covariance, 40, 60, 0.75, {"align": 2.0})
    again = tracked_pose_from_msg(tracked_pose_to_msg(result, "map", "camera"))
    assert again.map_from_camera.is_close(pose, 1e-12, 1e-6)
    np.testing.assert_array_equal(again.covariance, 2 * covariance)
    np.testing.assert_array_equal(again.covariance_since_anchor, covariance)
    assert (again.stamp_ns, again.anchor_stamp_ns) == (10**18 + 1, 10**18)
    assert (again.num_inliers, again.num_followed, again.reprojection_error_px) == (40, 60, 0.75)
    assert again.stage_ms == {"align": 2.0}


def test_no_tracked_pose_keeps_its_reason_and_a_broken_one_is_refused():
    rejection = Rejection(10**18, Reason.FEW_INLIERS)
    message = tracked_pose_to_msg(rejection, "map", "camera")
    assert tracked_pose_from_msg(message).reason is Reason.FEW_INLIERS
    result = TrackedPose(1, SE3.identity(), np.eye(6), 0, -np.eye(6), 40, 60, 0.75)
    with pytest.raises(ros_messages.MessageError, match="covariance"):
        tracked_pose_from_msg(tracked_pose_to_msg(result, "map", "camera"))
