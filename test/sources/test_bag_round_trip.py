import logging
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pycolmap
import pytest
import yaml
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from source_data import HEIGHT, WIDTH, colour_image, shared_data, truncate, write_images

from visloc_ros.core.errors import ConfigError, OutputError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_messages import iterate_bag_messages, iterate_serialized, list_topics
from visloc_ros.sources.bag_writer import BagWriter, write_bag
from visloc_ros.sources.camera_files import write_camera_yaml

STORAGES = ("mcap", "sqlite3")
CAMERA = pycolmap.Camera(model="OPENCV", width=WIDTH, height=HEIGHT, params=[60, 61, 32, 24, -0.1, 0.01, 0, 0])
STAMPS_NS = [1_700_000_000_000_000_001, 1_700_000_000_033_333_334, 1_700_000_000_066_666_667]
BASE_FROM_CAMERA = SE3.from_rotation_vector([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def make_frames():
    return [Frame(stamp_ns, colour_image(index), CAMERA) for index, stamp_ns in enumerate(STAMPS_NS)]


def make_truth(stamps_ns=STAMPS_NS):
    poses = [SE3.from_rotation_vector([0, 0, 0.1 * index], [index, 2, -3]) for index in range(len(stamps_ns))]
    return Trajectory(np.array(stamps_ns), tuple(poses))


def folder_of_png(root):
    images = write_images(root / "rgb", [f"{stamp_ns}.png" for stamp_ns in STAMPS_NS])
    write_camera_yaml(root / "camera.yaml", CAMERA)
    return open_source(root), images


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("lone_file", [False, True])
def test_what_is_written_is_read_back_exactly(tmp_path, storage, lone_file):
    source, images = folder_of_png(tmp_path / "folder")
    truth = make_truth()
    assert write_bag(source, tmp_path / "bag", truth, storage=storage) == 3
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    bag = open_source(tmp_path / "bag" / f"bag.{suffix}" if lone_file else tmp_path / "bag")
    frames = list(bag)
    assert (bag.name, len(bag), bag.skipped, bag.calibrated) == ("bag", 3, 0, True)
    assert [frame.stamp_ns for frame in frames] == STAMPS_NS
    for frame, image in zip(frames, images, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    np.testing.assert_allclose(bag.camera.params, CAMERA.params, rtol=1e-15)
    assert bag.ground_truth.stamps_ns.tolist() == STAMPS_NS
    assert all(one.is_close(other) for one, other in zip(bag.ground_truth.poses, truth.poses, strict=True))
    assert (bag.compressed, bag.frame_id, bag.camera_info_topic) == (
        True,
        "camera_optical_frame",
        "/camera/camera_info",
    )


def test_frames_in_memory_become_jpeg(tmp_path):
    frames = make_frames()
    write_bag(frames, tmp_path / "bag")
    for frame, back in zip(frames, open_source(tmp_path / "bag"), strict=True):
        assert np.abs(back.image.astype(int) - frame.image).mean() < 3


def test_encoded_frames_picked_by_hand_are_copied(tmp_path):
    source, images = folder_of_png(tmp_path / "folder")
    rest = (frame for index, frame in enumerate(source.iter_encoded()) if index != 1)
    assert write_bag(rest, tmp_path / "bag") == 2
    for frame, image in zip(open_source(tmp_path / "bag"), (images[0], images[2]), strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_poses_follow_the_images_and_those_far_outside_are_left_out(tmp_path):
    step_ns = 5_000_000
    begin = STAMPS_NS[0] - 2_000_000
    truth = make_truth([begin + step_ns * index for index in range(-40, 60)])
    write_bag(make_frames(), tmp_path / "bag", truth)
    times = [item.receive_time_ns for item in iterate_serialized(tmp_path / "bag")]
    assert times == sorted(times)
    kept = open_source(tmp_path / "bag").ground_truth
    assert kept.stamps_ns[0] == begin
    assert STAMPS_NS[-1] - step_ns < kept.stamps_ns[-1] <= STAMPS_NS[-1]
    assert all(later - earlier == step_ns for earlier, later in pairwise(kept.stamps_ns.tolist()))
    assert kept.interpolate(STAMPS_NS[0]).is_close(truth.interpolate(STAMPS_NS[0]))


@pytest.mark.parametrize("storage", STORAGES)
def test_static_transform_is_latched_and_everything_is_reliable(tmp_path, storage):
    write_bag(make_frames(), tmp_path / "bag", storage=storage, base_from_camera=BASE_FROM_CAMERA)
    ((_, topic, message),) = iterate_bag_messages(tmp_path / "bag", ["/tf_static"])
    (transform,) = message.transforms
    assert (topic, transform.header.frame_id, transform.child_frame_id) == (
        "/tf_static",
        "base_link",
        "camera_optical_frame",
    )
    rotation, translation = transform.transform.rotation, transform.transform.translation
    back = SE3.from_quaternion(
        [rotation.w, rotation.x, rotation.y, rotation.z], [translation.x, translation.y, translation.z]
    )
    assert back.is_close(BASE_FROM_CAMERA)
    with Reader(tmp_path / "bag") as reader:
        qos = {connection.topic: connection.ext.offered_qos_profiles[0] for connection in reader.connections}
    assert {name: item.durability for name, item in qos.items()} == {
        "/tf_static": QosDurability.TRANSIENT_LOCAL,
        "/camera/camera_info": QosDurability.VOLATILE,
        "/camera/image_raw/compressed": QosDurability.VOLATILE,
    }
    assert {item.reliability for item in qos.values()} == {QosReliability.RELIABLE}


def test_metadata_are_what_humble_and_later_read(tmp_path):
    write_bag(make_frames(), tmp_path / "bag", make_truth())
    information = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert information["version"] == 8
    assert information["storage_identifier"] == "mcap"
    assert information["relative_file_paths"] == ["bag.mcap"]
    assert information["message_count"] == 9
    assert information["starting_time"]["nanoseconds_since_epoch"] == STAMPS_NS[0]
    assert information["duration"]["nanoseconds"] == STAMPS_NS[-1] - STAMPS_NS[0]
    for topic in information["topics_with_message_count"]:
        (profile,) = yaml.safe_load(topic["topic_metadata"]["offered_qos_profiles"])
        assert profile["deadline"] == {"sec": 9223372036, "nsec": 854775807}


def test_serialized_messages_come_in_order_with_their_types(tmp_path):
    write_bag(make_frames(), tmp_path / "bag", make_truth())
    everything = list(iterate_serialized(tmp_path / "bag"))
    assert len(everything) == 9
    assert all(item.data[:2] == b"\x00\x01" for item in everything)  # CDR, little endian
    poses = list(iterate_serialized(tmp_path / "bag", ["/ground_truth/camera_pose"]))
    assert [(item.receive_time_ns, item.msgtype) for item in poses] == [
        (stamp_ns, "geometry_msgs/msg/PoseStamped") for stamp_ns in STAMPS_NS
    ]
    assert {name: tuple(topic) for name, topic in list_topics(tmp_path / "bag").items()} == {
        "/camera/camera_info": ("sensor_msgs/msg/CameraInfo", 3),
        "/camera/image_raw/compressed": ("sensor_msgs/msg/CompressedImage", 3),
        "/ground_truth/camera_pose": ("geometry_msgs/msg/PoseStamped", 3),
    }


def test_an_existing_bag_is_kept_unless_overwriting_is_asked_for(tmp_path):
    write_bag(make_frames(), tmp_path / "bag")
    with pytest.raises(OutputError, match="exists: choose another name"):
        write_bag(make_frames()[:1], tmp_path / "bag")
    assert len(open_source(tmp_path / "bag")) == 3
    write_bag(make_frames()[:1], tmp_path / "bag", overwrite=True)
    assert len(open_source(tmp_path / "bag")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("failure", [SourceError("torn"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_bag_and_nothing_half_written(tmp_path, storage, failure):
    def frames_then_failure():
        yield from make_frames()[:2]
        raise failure

    with pytest.raises(type(failure)):
        write_bag(frames_then_failure(), tmp_path / "new", storage=storage)
    assert list(tmp_path.iterdir()) == []
    write_bag(make_frames(), tmp_path / "bag", storage=storage)
    with pytest.raises(type(failure)):
        write_bag(frames_then_failure(), tmp_path / "bag", storage=storage, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
    assert len(list(open_source(tmp_path / "bag"))) == 3


def test_a_bag_that_a_killed_process_had_moved_aside_comes_back(tmp_path):
    write_bag(make_frames(), tmp_path / "bag")
    (tmp_path / ".bag.partial" / "new" / "bag").mkdir(parents=True)
    (tmp_path / "bag").rename(tmp_path / ".bag.partial" / "old")
    assert len(list(open_source(tmp_path / "bag"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_a_stamp_after_the_end_of_ros_time_is_named(tmp_path):
    late = [replace(frame, stamp_ns=2**31 * 10**9) for frame in make_frames()[:1]]
    with pytest.raises(OutputError, match="does not fit a ROS message"):
        write_bag(late, tmp_path / "bag")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_bag_is_never_overwritten(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "precious.txt").write_text("keep me")
    with pytest.raises(OutputError, match="is no bag, so it is not overwritten"):
        write_bag(make_frames(), tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "precious.txt").read_text() == "keep me"


def test_nowhere_to_write_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*bag: a file is in the way"):
        write_bag(make_frames(), tmp_path / "file" / "bag")


def test_a_bag_of_no_frames_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no frames to write"):
        write_bag([], tmp_path / "bag")
    assert list(tmp_path.iterdir()) == []


def test_unknown_storage_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="known: mcap, sqlite3"):
        BagWriter(tmp_path / "bag", "zip")


def test_broken_images_of_a_folder_do_not_reach_the_bag(tmp_path, caplog):
    source, _ = folder_of_png(tmp_path / "folder")
    truncate(tmp_path / "folder" / "rgb" / f"{STAMPS_NS[1]}.png", 0.5)
    with caplog.at_level(logging.WARNING):
        assert write_bag(source, tmp_path / "bag") == 2
    assert [frame.stamp_ns for frame in open_source(tmp_path / "bag")] == [STAMPS_NS[0], STAMPS_NS[2]]


def test_real_folder_to_bag_keeps_every_byte(tmp_path):
    source = open_source(shared_data("7scenes_redkitchen"), SourceConfig(first=500, last=540, every=20))
    write_bag(source, tmp_path / "bag", source.ground_truth)
    bag = open_source(tmp_path / "bag")
    for one, other in zip(source, bag, strict=True):
        assert one.stamp_ns == other.stamp_ns
        np.testing.assert_array_equal(one.image, other.image)
    assert bag.camera.params.tolist() == [525, 525, 320, 240]
    assert all(bag.ground_truth.nearest(frame.stamp_ns, 0) for frame in source)
