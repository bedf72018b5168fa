"""A robot goes on while its map changes: through an update, an alignment, and a map that was built anew."""

import shutil

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseWithCovarianceStamped
from node_harness import COMPRESSED, given, jpeg_msg, started
from room_versions import unpacked_room, write_second_version

from visloc_msgs.msg import Anchor, LocalizationStatus, MapIdentity, TrackedPose
from visloc_msgs.srv import LoadMap
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import in_frame, read_manifest, write_manifest
from visloc_ros.nodes import conversions
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

CAMERA = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=6.0, rate_hz=20.0, samples=1)
DRIVE = simulate(CAMERA, "localize")
SIGMAS = 3.0


class Robot:
    """Sends a drive, frame by frame, and keeps the fused pose of each by its number."""

    def __init__(self, harness):
        self.harness, self.count = harness, 0
        self.anchors = harness.received(Anchor, "anchor")
        self.statuses = harness.received(LocalizationStatus, "status", LATCHED)
        self.tracked = harness.received(TrackedPose, "map_tracking")
        self._poses = {}
        harness.probe.create_subscription(PoseWithCovarianceStamped, "camera_pose", self._keep, RELIABLE)
        infos, self._images = harness.camera()
        infos.publish(conversions.camera_to_msg(0, "camera", DRIVE.camera))

    def _keep(self, message):
        self._poses[stamp_from_msg(message.header.stamp)] = message.pose

    def load(self, folder):
        """Ask for a map; gives the answer to come."""
        client = self.harness.probe.create_client(LoadMap, "anchor_node/load_map")
        self.harness.wait_for(client.service_is_ready, "service load_map")
        return client.call_async(LoadMap.Request(map_path=str(folder)))

    def drive(self):
        """Send the next frame; gives its fused pose and covariance, or None where it has none."""
        frame, told = DRIVE.frame(self.count), len(self.statuses)
        self.count += 1
        self._images.publish(jpeg_msg(frame.image, frame.stamp_ns))

        def status():
            new = self.statuses[told:]
            return next((one for one in new if stamp_from_msg(one.header.stamp) == frame.stamp_ns), None)

        self.harness.wait_for(status, f"status of frame {self.count}")
        if status().state != LocalizationStatus.LOCALIZED:
            return None
        self.harness.wait_for(lambda: frame.stamp_ns in self._poses, f"pose of frame {self.count}")
        message = self._poses[frame.stamp_ns]
        return pose_from_msg(message.pose), np.array(message.covariance).reshape(6, 6)

    def drive_until(self, condition, frames=60):
        """Drive on until a condition holds; gives the poses on the way, by the number of the frame."""
        poses = {}
        while not condition():
            assert len(poses) < frames
            poses |= self.drive_on(1)
        return poses

    def drive_on(self, frames):
        """Drive on for so many frames; gives their poses by number."""
        return {number: self.drive() for number in range(self.count, self.count + frames)}


def test_the_pose_goes_on_within_its_covariance_while_the_map_is_updated(tmp_path, ros_domain):
    folder = unpacked_room(tmp_path / "room")
    maps = f"map_path:={folder}", f"map_tracking.map_path:={folder}"
    parameters = given(*maps, "base_frame:=camera", "silence_s:=60.0")
    others = [lambda: AnchorNode(is_alone=False), OdometryNode]
    with started(FusionNode, *parameters, *COMPRESSED, others=others) as harness:
        robot, (_, anchor_node, odometry_node) = Robot(harness), harness.nodes
        robot.drive_until(lambda: robot.statuses and robot.statuses[-1].state == LocalizationStatus.LOCALIZED)
        poses = robot.drive_until(lambda: sum(one.accepted for one in robot.anchors) >= 2)
        write_second_version(folder)
        loaded = robot.load(folder)
        poses |= robot.drive_on(5)  # in the old version
        harness.wait_for(loaded.done, "load_map")
        assert loaded.result().code == LoadMap.Response.SUCCESS, loaded.result().message
        assert anchor_node._engine.map.manifest.version == 2
        known = len(robot.anchors)
        poses |= robot.drive_until(lambda: odometry_node._followed.map.manifest.version == 2)
        poses |= robot.drive_until(lambda: any(one.accepted for one in robot.anchors[known:]))
        poses |= robot.drive_on(5)
        assert odometry_node._followed.map.manifest.version == 2
    assert None not in poses.values()  # LOCALIZED throughout
    assert_right(poses, SE3.identity())


def assert_right(poses, moved_from_room):
    """Poses by frame are within their covariance of the truth, in a frame that the room was moved to."""
    for number, (pose, covariance) in poses.items():
        truth = moved_from_room @ DRIVE.pose(number)
        error = np.linalg.norm(pose.translation - truth.translation)
        assert error <= SIGMAS * np.sqrt(np.linalg.eigvalsh(covariance[:3, :3]).max()), number


MOVED_FROM_ROOM = SE3.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -2.0, 0.5])


@pytest.mark.parametrize("is_known", [True, False], ids=["aligned", "built anew"])
def test_no_pose_in_the_frame_before_is_published_once_load_map_has_answered(tmp_path, ros_domain, is_known):
    """The map under the same name and path is in another frame, with a transform from the one before or without."""
    folder = unpacked_room(tmp_path / "room")
    maps = f"map_path:={folder}", f"map_tracking.map_path:={folder}"
    parameters = given(*maps, "base_frame:=camera", "silence_s:=60.0")
    others = [lambda: AnchorNode(is_alone=False), OdometryNode]
    with started(FusionNode, *parameters, *COMPRESSED, others=others) as harness:
        robot, (_, _, odometry_node) = Robot(harness), harness.nodes
        robot.drive_until(lambda: robot.statuses and robot.statuses[-1].state == LocalizationStatus.LOCALIZED)
        robot.drive_until(lambda: robot.statuses[-1].support == LocalizationStatus.SUPPORT_MAP_TRACKING)
        write_second_version(folder, MOVED_FROM_ROOM)
        if not is_known:
            write_manifest(folder, in_frame(read_manifest(folder), CoordinateFrame.new()))
        loaded = robot.load(folder)
        harness.wait_for(loaded.done, "load_map")
        assert (loaded.result().code, loaded.result().message) == (LoadMap.Response.SUCCESS, "")
        poses = robot.drive_on(3)  # the map begins to load
        loading = odometry_node._followed._loading
        harness.wait_for(lambda: not loading.is_alive(), "followed map")
        known = len(robot.tracked)
        poses |= robot.drive_until(lambda: any(one.tracked for one in robot.tracked[known:]))
        poses |= robot.drive_on(3)
        assert odometry_node._followed.map.identity.frame == read_manifest(folder).frame
        tracked = [one for one in robot.tracked if one.tracked]
    assert_right({number: one for number, one in poses.items() if one is not None}, MOVED_FROM_ROOM)
    assert None not in poses.values() or not is_known  # with a transform there is no gap
    stamps = {DRIVE.frame(number).stamp_ns: number for number in poses}
    of_after = [one for one in tracked if stamp_from_msg(one.header.stamp) in stamps]
    assert of_after
    for one in of_after:
        pose = pose_from_msg(one.pose.pose), np.array(one.pose.covariance).reshape(6, 6)
        assert_right({stamps[stamp_from_msg(one.header.stamp)]: pose}, MOVED_FROM_ROOM)


def other_room(folder):
    """The room in a frame of its own, under the same name."""
    write_second_version(unpacked_room(folder), MOVED_FROM_ROOM)
    write_manifest(folder, in_frame(read_manifest(folder), CoordinateFrame.new()))
    return folder


def test_a_restarted_anchor_node_returns_to_the_map_that_was_loaded(tmp_path, ros_domain):
    folder, other = unpacked_room(tmp_path / "room"), other_room(tmp_path / "other" / "room")
    frame = read_manifest(other).frame
    with started(FusionNode, *given(f"map_path:={folder}"), others=[lambda: AnchorNode(is_alone=False)]) as harness:
        announced = harness.received(MapIdentity, "map_in_use", LATCHED)
        harness.wait_for(lambda: announced, "map of the parameter")
        answer = harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(other)))
        assert (answer.code, answer.message) == (LoadMap.Response.SUCCESS, "")
        harness.wait_for(lambda: announced[-1].frame_uuid == frame.uuid, "map in use")
        dead = harness.nodes[1]
        dead.release()
        again = harness.start(lambda: AnchorNode(is_alone=False))
        assert again._identity.frame != frame  # at first it has the map of its parameter
        harness.wait_for(lambda: again._identity.frame == frame, "the map in use")
        assert {one.frame_uuid for one in announced[-1:]} == {frame.uuid}
        harness.wait_for(lambda: not harness.node._refused_map, "the fusion node's consent")


def test_the_map_in_use_survives_the_fusion_node(tmp_path, ros_domain):
    folder, other = unpacked_room(tmp_path / "room"), other_room(tmp_path / "other" / "room")
    with started(lambda: AnchorNode(is_alone=False), *given(f"map_path:={folder}"), others=[FusionNode]) as harness:
        announced = harness.received(MapIdentity, "map_in_use", LATCHED)
        assert harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(other))).message == ""
        harness.nodes[1].release()
        known = len(announced)
        harness.start(FusionNode)
        harness.wait_for(lambda: len(announced) > known, "map in use of the new fusion node")
        assert announced[-1].frame_uuid == read_manifest(other).frame.uuid


def test_of_two_loads_at_once_each_is_answered_truly_and_the_last_one_stays(tmp_path, ros_domain):
    folder, other = unpacked_room(tmp_path / "room"), other_room(tmp_path / "other" / "hall")
    with started(lambda: AnchorNode(is_alone=False), *given(f"map_path:={folder}"), others=[FusionNode]) as harness:
        announced = harness.received(MapIdentity, "map_in_use", LATCHED)
        client = harness.probe.create_client(LoadMap, "anchor_node/load_map")
        harness.wait_for(client.service_is_ready, "service load_map")
        ended = []
        for path in (other, folder, other, folder):
            answer = client.call_async(LoadMap.Request(map_path=str(path)))
            answer.add_done_callback(lambda done, path=path: ended.append((path, done.result())))
        harness.wait_for(lambda: len(ended) == 4, "answers")
        assert {(one.code, one.message) for _, one in ended} == {(LoadMap.Response.SUCCESS, "")}
        last = read_manifest(ended[-1][0]).frame
        harness.wait_for(lambda: announced[-1].frame_uuid == last.uuid, "map in use")
        assert harness.node._identity.frame == last


def test_a_load_that_fails_says_which_map_stays(tmp_path, ros_domain):
    folder, other = unpacked_room(tmp_path / "room"), other_room(tmp_path / "other" / "hall")
    with started(lambda: AnchorNode(is_alone=False), *given(f"map_path:={folder}"), others=[FusionNode]) as harness:
        assert harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(other))).message == ""
        shutil.rmtree(other)
        answer = harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(other)))
        assert (answer.code, answer.map_name) == (LoadMap.Response.MAP_DOES_NOT_EXIST, read_manifest(folder).name)
        assert harness.node._identity.path == str(other)


def test_a_map_in_use_that_was_moved_on_the_disk_is_not_used_without_being_asked_for(tmp_path, ros_domain):
    """It was not loaded since, and the anchor node dies: nothing says that its new frame is wanted."""
    folder, other = unpacked_room(tmp_path / "room"), other_room(tmp_path / "other" / "room")
    with started(FusionNode, *given(f"map_path:={folder}"), others=[lambda: AnchorNode(is_alone=False)]) as harness:
        announced = harness.received(MapIdentity, "map_in_use", LATCHED)
        harness.wait_for(lambda: announced, "map of the parameter")
        assert harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(other))).message == ""
        loaded = read_manifest(other).frame
        harness.nodes[1].release()
        write_second_version(other, MOVED_FROM_ROOM)
        again = harness.start(lambda: AnchorNode(is_alone=False))
        harness.wait_for(lambda: again._no_return, "words")
        assert "is in another frame now; call load_map" in again._report()[1]
        assert harness.node._backend.map.frame == loaded
        assert harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(other))).message == ""
        assert harness.node._backend.map.frame == read_manifest(other).frame
        harness.wait_for(lambda: not again._no_return, "no more words")
