"""Two cameras at right angles in ROS: one pose of the body, whichever sees something; wrong places are named."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseWithCovarianceStamped
from node_harness import COMPRESSED, DEMO_MAP, given, started
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import Anchor, LocalizationStatus
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import State
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.conversions import camera_to_msg, header, state_from_msg, transform_to_msg
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, TF_STATIC
from visloc_ros.nodes.rig_input import MAIN, further_cameras
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS, MountedPath
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

WALK = SimulationConfig(width=480, height=360, focal_px=360.0, duration_s=2.4, rate_hz=10.0, noise_std=1.0, samples=1)
SIGHTED = 10  # frames before the first camera sees nothing any more
BASE_FROM_FRONT = SE3(rotation_matrix([0.1, 0.2, 0.0]), np.array([0.3, 0.0, 0.1]))
FRONT_FROM_LEFT = SE3(rotation_matrix([0.0, -np.pi / 2, 0.0]), np.array([-0.1, 0.0, -0.1]))
PREFIXES = {"front": "", "left": "left/"}


@pytest.fixture(scope="module")
def walk():
    """The simulations, and all frames of both cameras."""
    cameras = {
        "front": simulate(WALK, "localize"),
        "left": simulate(WALK, "localize", path=MountedPath(PATHS["localize"], FRONT_FROM_LEFT)),
    }
    return cameras, {name: list(camera) for name, camera in cameras.items()}


class Robot:
    """Sends the images of both cameras, each once the nodes are done with the one before, and keeps what comes back."""

    def __init__(self, harness, front_from_left=FRONT_FROM_LEFT):
        self.harness = harness
        self.anchors = harness.received(Anchor, "anchor")
        self.statuses = harness.received(LocalizationStatus, "status", EACH_LATCHED)
        self.poses = harness.received(PoseWithCovarianceStamped, "pose", LATCHED)
        mounts = harness.probe.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        places = {"front": BASE_FROM_FRONT, "left": BASE_FROM_FRONT @ front_from_left}
        mounts.publish(TFMessage(transforms=[transform_to_msg(0, "base", name, one) for name, one in places.items()]))
        self.publishers = {
            name: (
                harness.publisher(CameraInfo, f"{prefix}camera_info"),
                harness.publisher(CompressedImage, f"{prefix}image/compressed"),
            )
            for name, prefix in PREFIXES.items()
        }

    def send(self, name, frame):
        infos, images = self.publishers[name]
        infos.publish(camera_to_msg(frame.stamp_ns, name, frame.camera))
        data = encode_jpeg(frame.image, 95)
        images.publish(CompressedImage(header=header(frame.stamp_ns, name), format="jpeg", data=data))

    def await_stamp(self, messages, stamp_ns, what):
        self.harness.wait_for(
            lambda: messages and stamp_from_msg(messages[-1].header.stamp) >= stamp_ns, f"{what} of {stamp_ns}"
        )

    def step(self, odometry, images):
        """Send images of one time, those of the first camera last, and wait until odometry has each."""
        for name in sorted(images, reverse=True):
            self.send(name, images[name])
            camera, stamp_ns = MAIN if name == "front" else name, images[name].stamp_ns
            self.harness.wait_for(lambda c=camera, ns=stamp_ns: odometry._images.newest_ns(c) == ns, "image")


@pytest.fixture
def arguments(tmp_path):
    """The anchor node searches all the time, and a slow computer's pauses are no loss."""
    options, parameters = tmp_path / "options.yaml", tmp_path / "parameters.yaml"
    options.write_text("longest_rest_s: 0.0\n")
    parameters.write_text(f"/**/anchor_node:\n  ros__parameters:\n    config_file: {options}\n")
    maps = given(f"map_path:={DEMO_MAP}", f"map_tracking.map_path:={DEMO_MAP}")
    options = given("cameras:=left", "base_frame:=base", "silence_s:=60.0")
    return (*COMPRESSED, *maps, *options, "--params-file", str(parameters))


@contextmanager
def all_nodes(arguments):
    """The robot with odometry and fusion joined, and the search beside them."""
    fusions = []

    def fusion():
        fusions.append(FusionNode(takes_odometry=False))
        return fusions[0]

    with started(
        fusion, *arguments, others=[lambda: AnchorNode(is_alone=False), lambda: OdometryNode(fusions[0])]
    ) as harness:
        yield Robot(harness)


def check_poses(robot, camera):
    """All poses that came are those of the body, and the newest image has one."""
    truth = {camera.stamp_ns(index): camera.pose(index) @ BASE_FROM_FRONT.inverse for index in range(WALK.num_frames)}
    robot.await_stamp(robot.poses, max(truth), "pose")
    poses = {stamp_from_msg(one.header.stamp): pose_from_msg(one.pose.pose) for one in robot.poses}
    assert max(np.linalg.norm(pose.translation - truth[ns].translation) for ns, pose in poses.items()) < 0.03
    assert state_from_msg(robot.statuses[-1].state) is State.LOCALIZED
    assert not any(node.guard.failures for node in robot.harness.nodes)


def dark(index):
    """The pixels of a covered camera."""
    return np.random.default_rng(index).integers(0, 4, (WALK.height, WALK.width), np.uint8)


@pytest.mark.parametrize("what", ["covered", "unplugged", "frozen"])
def test_the_pose_of_the_body_goes_on_when_the_first_camera_is(what, walk, arguments, ros_domain):
    cameras, frames = walk
    with all_nodes(arguments) as robot:
        odometry = robot.harness.nodes[2]
        for index, (front, left) in enumerate(zip(frames["front"], frames["left"], strict=True)):
            images, is_blind = {"front": front, "left": left}, index >= SIGHTED
            if is_blind:
                images.pop("front")
            if is_blind and what == "covered":
                images["front"] = replace(front, image=dark(index))
            robot.step(odometry, images)
            if is_blind and what == "frozen":
                robot.send("front", replace(front, image=frames["front"][SIGHTED - 1].image))
            sees = not is_blind or odometry._leading.name == "left"
            if sees or what != "unplugged":
                robot.await_stamp(robot.statuses, front.stamp_ns, "status")
                if sees and index % 3 == 0:
                    robot.await_stamp(robot.anchors, front.stamp_ns, "anchor")
        check_poses(robot, cameras["front"])
        states = [state_from_msg(one.state) for one in robot.statuses]
        since_first = states[states.index(State.LOCALIZED) :]
        assert since_first.count(State.LOCALIZED) >= len(since_first) - 3, "odometry alone needs a second to begin"
        assert {one.camera_frame_id for one in robot.anchors if one.accepted} == {"front", "left"}
        assert odometry._report()[2]["leads"] == "left"


def test_an_image_of_the_camera_before_is_not_followed_as_one_of_the_next(walk, arguments, ros_domain):
    """Another camera may be to lead while an image is worked on: threads of other cameras decide that."""
    _, frames = walk
    with all_nodes(arguments) as robot:
        odometry, followed = robot.harness.nodes[2], []
        process = odometry._localizer.process

        def process_while_the_other_begins(frame):
            odometry._leading.follow("left", frame.stamp_ns)
            followed.append(odometry._images.leading)
            return process(frame)

        odometry._localizer.process = process_while_the_other_begins
        for index in (0, 1):
            robot.step(odometry, {name: frames[name][index] for name in PREFIXES})
        robot.harness.wait_for(lambda: len(followed) > 1, "images of both cameras")
        assert followed[:2] == [MAIN, "left"]


def pairwise_of(frames):
    """Images of the first camera, each with the one of the other camera that is 100 ms older, where that sees much."""
    return zip(frames["left"][SIGHTED - 3 : -4], frames["front"][SIGHTED - 2 : -3], strict=True)


def test_an_image_that_comes_late_is_moved_to_the_time_of_the_other_camera(walk, arguments, ros_domain):
    _, frames = walk
    with all_nodes(arguments) as robot:
        search, odometry = robot.harness.nodes[1], robot.harness.nodes[2]
        for late, front in pairwise_of(frames):
            robot.step(odometry, {"left": late, "front": front})
            robot.await_stamp(robot.statuses, front.stamp_ns, "status")
            robot.await_stamp(robot.anchors, front.stamp_ns, "anchor")
        assert search._report()[2]["map points of left"] > 50
        assert {one.camera_frame_id for one in robot.anchors} == {"front"}


def test_a_camera_that_is_mounted_otherwise_is_named_and_an_unplugged_one_costs_nothing(walk, arguments, ros_domain):
    cameras, frames = walk
    turn = SE3(rotation_matrix([0.0, np.radians(3.0), 0.0]), np.zeros(3))
    with started(AnchorNode, *arguments) as harness:
        robot, node = Robot(harness, FRONT_FROM_LEFT @ turn), harness.node
        for index in range(SIGHTED, SIGHTED + 8):
            for name in ("left", "front"):
                robot.send(name, frames[name][index])
            robot.await_stamp(robot.anchors, frames["front"][index].stamp_ns, "anchor")
        level, words, _ = node._report()
        assert level != "ok"
        assert "'left' is mounted 3." in words or "'left' is mounted 2.9" in words
        assert "correct its transform" in words
        for index in range(21, 23):
            robot.send("front", frames["front"][index])
            robot.await_stamp(robot.anchors, frames["front"][index].stamp_ns, "anchor")
        assert all(one.accepted for one in robot.anchors)
        truth = cameras["front"].pose(22)
        assert pose_from_msg(robot.anchors[-1].pose.pose).is_close(truth, 0.02, 0.3)


def test_names_that_no_topic_can_have_are_refused(ros_domain):
    for names in ("main", "left left", "le-ft"):
        with pytest.raises(ConfigError, match="no name for a further camera"):
            further_cameras(names)
    assert further_cameras("left, rear") == ("left", "rear")
