"""True poses of a bag that are not the camera's own: those of the base, and transforms over several frames."""

import pycolmap
import pytest
from source_data import colour_image, encode

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_writer import BagWriter

SECOND_NS = 1_000_000_000
POSE = SE3.from_rotation_vector([0.3, -0.2, 0.1], [1, 2, 3])
MOUNT = SE3.from_rotation_vector([-1.5, 0.1, 1.5], [0.2, 0.0, 0.4])


def turned(seconds: float) -> SE3:
    return SE3.from_rotation_vector([0.0, 0.0, 0.2 * seconds], [seconds, 0.0, 0.0])


def truth_of(path, topic, *, transforms=(), odometry=()):
    """Truth of a bag of one image, transforms (topic, stamp, parent, child, pose), odometry (stamp, child, pose)."""
    with BagWriter(path) as bag:
        camera = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[60.0, 60.0, 32.0, 24.0])
        bag.write_camera_info("/camera/camera_info", 1, "camera", camera)
        bag.write_compressed_image("/camera/image_raw/compressed", 1, "camera", encode(colour_image(0), ".png"), "png")
        for on, stamp_ns, parent, child, pose in transforms:
            bag.write_tf(on, stamp_ns, parent, child, pose)
        for stamp_ns, child, pose in odometry:
            bag.write_odometry("/mocap", stamp_ns, "world", child, pose)
    return open_source(path, SourceConfig(ground_truth_topic=topic)).ground_truth


def test_a_topic_that_is_none_is_refused(tmp_path):
    with pytest.raises(SourceError, match="the bag has no topic /gt"):
        truth_of(tmp_path / "bag", "/gt")


def test_poses_of_the_base_are_brought_to_the_camera(tmp_path, caplog):
    told = [(5, "base_link", POSE)]
    alone = truth_of(tmp_path / "alone", "/mocap", odometry=told)
    assert alone.poses[0].is_close(POSE)
    assert "/mocap is taken as the camera's" in caplog.text
    mount = [("/tf_static", 1, "base_link", "camera", MOUNT)]
    assert truth_of(tmp_path / "mounted", "/mocap", transforms=mount, odometry=told).poses[0].is_close(POSE @ MOUNT)


def test_transforms_are_joined_over_moving_and_fixed_frames(tmp_path):
    """A laser's map -> odom each second, odom -> base four times as often, and a camera on a mast on the base."""
    fixed = [("/tf_static", 1, "base_link", "mast", MOUNT), ("/tf_static", 1, "mast", "camera", MOUNT)]
    fixed.append(("/tf_static", 1, "earth", "map", POSE))
    quarter_ns = SECOND_NS // 4
    often = [("/tf", n * quarter_ns, "odom", "base_link", turned(n / 4)) for n in range(4, 16)]
    seldom = [("/tf", n * SECOND_NS, "map", "odom", turned(n / 10)) for n in range(2, 6)]
    truth = truth_of(tmp_path / "bag", "/tf", transforms=[*fixed, *often, *seldom])
    assert truth.stamps_ns.tolist() == [n * quarter_ns for n in range(8, 16)]  # while both are known
    for n, pose in zip(range(8, 16), truth.poses, strict=True):
        expected = POSE @ turned(n / 40) @ turned(n / 4) @ MOUNT @ MOUNT
        assert pose.is_close(expected, 2e-4, 0.01)


def test_moving_frames_that_are_never_known_together_are_refused(tmp_path):
    told = [("/tf", n, "map", "odom", POSE) for n in (1, 2)] + [("/tf", n, "odom", "camera", POSE) for n in (3, 4)]
    with pytest.raises(SourceError, match="at no time known together"):
        truth_of(tmp_path / "bag", "/tf", transforms=told)


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ([("odom", "wheel")], "no moving frame of /tf leads to the camera 'camera'"),
        ([("map", "camera"), ("odom", "camera")], "'camera' has several parents on /tf: map, odom"),
        ([("a", "camera"), ("camera", "a")], "go round in a circle at 'camera'"),
    ],
)
def test_transforms_that_show_no_pose_are_refused_in_words(tmp_path, edges, words):
    with pytest.raises(SourceError, match=words):
        truth_of(tmp_path / "bag", "/tf", transforms=[("/tf", 3, parent, child, POSE) for parent, child in edges])
