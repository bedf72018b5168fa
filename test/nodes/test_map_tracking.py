"""Map points followed in the odometry node over DDS: images, fused poses, an anchor in; poses in the map out."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseWithCovarianceStamped
from node_harness import started
from room_versions import unpacked_room, write_second_version
from tracking_robot import ARGUMENTS, RELIABLE_RAW, SMALL, Robot

from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import MapIdentity, Reason, Rejection, TrackedPose
from visloc_ros.nodes import map_tracking
from visloc_ros.nodes.conversions import header, tracked_pose_to_msg
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


def test_fused_poses_of_the_camera_before_that_are_still_on_their_way_are_no_prediction(robot):
    of_front, of_left = SE3.identity(), SE3.from_rotation_vector([0.0, -1.5, 0.0], [0.0, 0.0, 0.0])
    remote = robot.node._remote
    remote.follow_camera("left", 3 * NANOSECONDS)
    for stamp_ns, pose in ((int(2.9 * NANOSECONDS), of_front), (3 * NANOSECONDS, of_left)):
        robot.predict(stamp_ns, pose)
    robot.harness.wait_for(lambda: remote.predict(3 * NANOSECONDS) is not None, "fused pose")
    assert remote.predict(int(3.1 * NANOSECONDS)).is_close(of_left), "not carried on from the other camera's"


MOVED_FROM_MAP = SE3.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -2.0, 0.5])


def moved(pose):
    """A pose of the room in the frame of the hall."""
    return MOVED_FROM_MAP @ pose


@pytest.fixture
def hall(tmp_path):
    """Most points of the demo map under another name, in another frame: its identity, with its path."""
    folder = unpacked_room(tmp_path / "hall")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"name": "hall"}))
    write_second_version(folder, MOVED_FROM_MAP)
    return replace(open_map(folder).identity, path=str(folder))


def test_points_of_the_map_in_use_are_followed_once_it_is_loaded(robot, walk, hall):
    simulation, frames = walk
    robot.track(frames[0], simulation.pose(0))
    robot.find(frames[0], simulation.pose(0))
    assert isinstance(robot.track(frames[1], simulation.pose(1)), TrackedPose)
    robot.use(hall, frames[2].stamp_ns)
    assert robot.track(frames[2]).reason is Reason.OTHER_FRAME  # no pose in the frame before
    robot.harness.wait_for(lambda: not robot.node._followed._loading.is_alive(), "map")
    robot.track(frames[3], moved(simulation.pose(3)))
    robot.track(frames[4], moved(simulation.pose(4)))
    robot.find(frames[4], moved(simulation.pose(4)), hall)
    result = robot.track(frames[5], moved(simulation.pose(5)))
    assert isinstance(result, TrackedPose)
    assert result.frame == hall.frame
    assert result.map_from_camera.is_close(moved(simulation.pose(5)), 0.05, 1.0)
    assert robot.node._report()[2]["map tracking: map"] == "hall"


def test_fused_poses_of_images_before_the_map_in_use_are_left_out(robot, walk, hall):
    _, frames = walk
    robot.use(hall, frames[3].stamp_ns)
    for index in (2, 3):
        message = PoseWithCovarianceStamped(header=header(frames[index].stamp_ns, "map"))
        message.pose.pose.orientation.w = 1.0
        robot._publishers["camera_pose"].publish(message)
    known = robot.node._remote
    robot.harness.wait_for(lambda: known.predict(frames[3].stamp_ns) is not None, "fused pose")
    assert [stamp_ns for stamp_ns, _ in known._predictions._poses] == [frames[3].stamp_ns]


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
        robot.use(replace(open_map(folder).identity, path=str(folder)))
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
    before, in_use = followed.map, replace(followed.map.identity, path=str(folder), model_id="another version")
    write_second_version(folder, SE3.from_quaternion([0.5, 0.5, -0.5, 0.5], [1.0, 2.0, 3.0]))
    assert followed.take(in_use) is None
    robot.harness.wait_for(lambda: not followed._loading.is_alive(), "map")
    assert followed.take(in_use) is None
    assert followed.map is before
    assert "is in another frame" in followed.problem
    assert followed.take(before.identity) is None
    assert followed.problem == ""  # the map before is in use again
    assert followed.take(in_use) is None
    assert followed._loading is not None  # it is tried again


def test_a_map_that_is_not_here_is_said_and_loaded_once_it_is_there(robot, walk, hall, tmp_path, monkeypatch):
    simulation, frames = walk
    monkeypatch.setattr(map_tracking, "RETRY_S", 0.0)
    absent = replace(hall, path=str(tmp_path / "absent"))
    robot.track(frames[0], simulation.pose(0))
    robot.use(absent)
    robot.track(frames[1])
    robot.harness.wait_for(lambda: robot.node._followed.problem, "problem")
    assert "there is no map at" in robot.node._report()[2]["map tracking: problem"]
    shutil.copytree(hall.path, absent.path)
    robot.track(frames[2])  # takes note of the failure
    robot.track(frames[3])  # tries again
    robot.harness.wait_for(lambda: robot.node._followed._loaded is not None, "map")
    robot.track(frames[4])
    assert robot.node._followed.map.identity.frame == hall.frame
    assert robot.node._followed.problem == ""


def test_anchors_that_nothing_bears_out_are_not_followed(robot, walk):
    """One a metre from the fused pose, one of another map."""
    simulation, frames = walk
    robot.track(frames[0], simulation.pose(0))
    wrong = SE3(simulation.pose(0).rotation, simulation.pose(0).translation + np.array([1.0, 0.0, 0.0]))
    robot.find(frames[0], wrong)
    assert isinstance(robot.track(frames[1], simulation.pose(1)), Rejection)
    robot.find(frames[0], simulation.pose(0), MapIdentity("elsewhere", metric=True, frame=CoordinateFrame.new()))
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
    covariance = covariance @ covariance.T + np.eye(6)
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
