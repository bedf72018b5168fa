import logging

import numpy as np
import pycolmap
import pytest
import zstandard
from rosbags.rosbag2 import CompressionMode
from source_data import (
    HEIGHT,
    WIDTH,
    camera_info,
    colour_image,
    compressed_image,
    encode,
    header,
    make,
    raw_bag,
    raw_image,
    shared_data,
    truncate,
    write_messages,
)

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.camera import project
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_messages import BagTopic, iterate_bag_messages, iterate_serialized
from visloc_ros.sources.bag_topics import find_camera_info_topic, find_ground_truth_topic
from visloc_ros.sources.bag_writer import copy_with_camera_info

STORAGES = ("mcap", "sqlite3")
STAMPS_NS = [1_000_000_007, 1_033_333_340, 1_066_666_674]
INFO = ("/left/camera_info", 1, camera_info(1))
POSE = SE3.from_rotation_vector([0.3, -0.2, 0.1], [1, 2, 3])


def pose_message():
    w, x, y, z = POSE.quaternion
    return make(
        "geometry_msgs/msg/Pose",
        position=make("geometry_msgs/msg/Point", x=1.0, y=2.0, z=3.0),
        orientation=make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
    )


def with_covariance(kind, value, field):
    return make(f"geometry_msgs/msg/{kind}WithCovariance", **{field: value, "covariance": np.zeros(36)})


def stamped_pose(kind, stamp_ns):
    if kind == "nav_msgs/msg/Odometry":
        zero = make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        twist = make("geometry_msgs/msg/Twist", linear=zero, angular=zero)
        return make(
            kind,
            header=header(stamp_ns),
            child_frame_id="left_optical",
            pose=with_covariance("Pose", pose_message(), "pose"),
            twist=with_covariance("Twist", twist, "twist"),
        )
    if kind == "geometry_msgs/msg/TransformStamped":
        transform = make(
            "geometry_msgs/msg/Transform",
            translation=make("geometry_msgs/msg/Vector3", x=1.0, y=2.0, z=3.0),
            rotation=pose_message().orientation,
        )
        return make(kind, header=header(stamp_ns), child_frame_id="left_optical", transform=transform)
    if kind == "geometry_msgs/msg/PoseWithCovarianceStamped":
        return make(kind, header=header(stamp_ns), pose=with_covariance("Pose", pose_message(), "pose"))
    return make(kind, header=header(stamp_ns), pose=pose_message())


@pytest.mark.parametrize("storage", STORAGES)
def test_raw_images_and_camera_info(tmp_path, storage):
    source = open_source(raw_bag(tmp_path / "bag", STAMPS_NS, storage))
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == STAMPS_NS
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, colour_image(index))
    assert source.camera.params.tolist() == [60, 60, WIDTH / 2, HEIGHT / 2]
    assert (source.compressed, source.frame_id, source.ground_truth) == (False, "left_optical", None)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("compression", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_bags(tmp_path, storage, compression):
    messages = [INFO, ("/left/image_raw", 2, raw_image(5, colour_image(0)))]
    (frame,) = open_source(write_messages(tmp_path / "bag", messages, storage, compression))
    np.testing.assert_array_equal(frame.image, colour_image(0))


def test_selection_counts_images(tmp_path):
    stamps_ns = [1_000_000_000 + 33_000_000 * index for index in range(7)]
    source = open_source(raw_bag(tmp_path / "bag", stamps_ns), SourceConfig(first=1, last=5, every=2))
    assert [frame.stamp_ns for frame in source] == stamps_ns[1:6:2]
    assert len(source) == 3


def test_the_real_mcap_bag():
    source = open_source(shared_data("ros2bag_mh05_mcap"))
    folder = open_source(shared_data("euroc_mh05"), SourceConfig(first=100, last=218, every=2))
    assert len(source) == 60
    assert source.camera_info_topic == "/camera/camera_info"
    np.testing.assert_allclose(source.camera.params, folder.camera.params, rtol=1e-12)
    for from_bag, from_folder in zip(source, folder, strict=True):
        assert from_bag.stamp_ns == from_folder.stamp_ns
        np.testing.assert_array_equal(from_bag.image, from_folder.image)
        true_pose = source.ground_truth.nearest(from_bag.stamp_ns, 0)
        assert true_pose.is_close(folder.ground_truth.nearest(from_bag.stamp_ns, 0), 1e-5, 1e-3)


def test_the_real_sqlite3_bag_of_two_fisheye_cameras(tmp_path):
    root = shared_data("rosbag2_t265_db3")
    with pytest.raises(SourceError, match=r"/camera/fisheye1/image_raw, /camera/fisheye2/image_raw.*image_topic"):
        open_source(root)
    without = open_source(root, SourceConfig(image_topic="/camera/fisheye2/image_raw"))
    assert without.calibration.source is CalibrationSource.GUESSED
    assert (without.camera.width, without.camera.height) == (848, 800)
    calibration = tmp_path / "t265.yaml"
    calibration.write_text(
        "{model: OPENCV_FISHEYE, width: 848, height: 800, "
        "params: [284.468, 285.51, 424.855, 394.242, 0.0008, 0.031, -0.03, 0.005]}"
    )
    source = open_source(root, SourceConfig(image_topic="/camera/fisheye2/image_raw", camera=str(calibration)))
    frames = list(source)
    assert len(frames) == len(source) == 3
    assert frames[0].image.shape == (800, 848)
    assert frames[0].image.std() > 10
    assert (source.camera_info_topic, source.camera.model.name) == ("", "OPENCV_FISHEYE")


def test_binned_images_get_the_binned_camera(tmp_path):
    info = camera_info(1, 2 * WIDTH, 2 * HEIGHT, focal=120.0, binning=2)
    bag = write_messages(
        tmp_path / "bag", [("/c/camera_info", 1, info), ("/c/image", 2, raw_image(5, colour_image(0)))]
    )
    camera = open_source(bag).camera
    np.testing.assert_allclose(project(camera, [[0, 0, 1], [0.1, 0.1, 1]]), [[32, 24], [38, 30]])


@pytest.mark.parametrize(
    "kind",
    [
        "geometry_msgs/msg/PoseStamped",
        "geometry_msgs/msg/PoseWithCovarianceStamped",
        "geometry_msgs/msg/TransformStamped",
        "nav_msgs/msg/Odometry",
    ],
)
def test_true_poses_of_every_type_are_found_by_name(tmp_path, kind):
    images = [("/left/image_raw", stamp_ns, raw_image(stamp_ns, colour_image(0))) for stamp_ns in STAMPS_NS]
    poses = [("/robot/gt/pose", stamp_ns, stamped_pose(kind, stamp_ns)) for stamp_ns in STAMPS_NS]
    other = [("/odometry", 9, stamped_pose("nav_msgs/msg/Odometry", 9))]
    truth = open_source(write_messages(tmp_path / "bag", [INFO, *images, *poses, *other])).ground_truth
    assert truth.stamps_ns.tolist() == STAMPS_NS
    assert all(pose.is_close(POSE) for pose in truth.poses)


def test_topic_of_true_poses_can_be_named(tmp_path):
    messages = [INFO, ("/left/image_raw", 2, raw_image(5, colour_image(0)))]
    messages.append(("/vicon/camera", 3, stamped_pose("geometry_msgs/msg/TransformStamped", 5)))
    bag = write_messages(tmp_path / "bag", messages)
    assert open_source(bag).ground_truth is None
    assert len(open_source(bag, SourceConfig(ground_truth_topic="/vicon/camera")).ground_truth) == 1
    with pytest.raises(SourceError, match="/left/image_raw is a sensor_msgs/msg/Image, not one of geometry_msgs"):
        open_source(bag, SourceConfig(ground_truth_topic="/left/image_raw"))


def test_an_impossible_true_pose_is_refused(tmp_path):
    message = stamped_pose("geometry_msgs/msg/PoseStamped", 5)
    message.pose.orientation.w = message.pose.orientation.x = 0.0
    messages = [INFO, ("/left/image_raw", 2, raw_image(5, colour_image(0))), ("/gt", 3, message)]
    with pytest.raises(SourceError, match="/gt holds an impossible pose"):
        _ = open_source(write_messages(tmp_path / "bag", messages)).ground_truth


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["/ground_truth/camera_pose"], "/ground_truth/camera_pose"),
        (["/groundtruth"], "/groundtruth"),
        (["/camera_GT"], "/camera_GT"),
        (["/gtsam/pose", "/height_gtx"], None),
        (["/gt/a", "/gt/b"], None),
        ([], None),
    ],
)
def test_names_that_mean_ground_truth(names, found):
    topics = {name: BagTopic("geometry_msgs/msg/PoseStamped", 3) for name in names}
    assert find_ground_truth_topic(topics, "") == found


def test_the_camera_info_of_another_camera_is_not_taken():
    image, info = BagTopic("sensor_msgs/msg/Image", 3), BagTopic("sensor_msgs/msg/CameraInfo", 3)
    topics = {"/left/image": image, "/right/image": image, "/right/camera_info": info}
    assert find_camera_info_topic(topics, "/right/image", "") == "/right/camera_info"
    with pytest.raises(CalibrationError, match=r"there is /right/camera_info: name the right one"):
        find_camera_info_topic(topics, "/left/image", "")
    assert find_camera_info_topic(topics, "/left/image", "/right/camera_info") == "/right/camera_info"
    only = {"/image": image, "/calibration/info": info}
    assert find_camera_info_topic(only, "/image", "") == "/calibration/info"


def test_missing_topics_are_reported_with_those_that_are_there(tmp_path):
    bag = raw_bag(tmp_path / "bag", STAMPS_NS)
    with pytest.raises(SourceError, match=r"no topic /front; it has /left/camera_info \(1 x .*\), /left/image_raw"):
        open_source(bag, SourceConfig(image_topic="/front"))
    with pytest.raises(SourceError, match="no topic /a, /b; it has /left/camera_info, /left/image_raw"):
        list(iterate_serialized(bag, ["/a", "/left/image_raw", "/b"]))
    without_images = write_messages(tmp_path / "infos", [INFO])
    with pytest.raises(SourceError, match=r"no image topic; it has /left/camera_info"):
        open_source(without_images)


IMAGE = ("/left/image_raw", 2, raw_image(5, colour_image(0)))


def test_camera_info_must_be_of_the_images_size_and_finite(tmp_path):
    for name, info, message in (
        ("size", camera_info(1, 640, 480), "the image is 64x48 but the calibration is for"),
        ("infinite", camera_info(1, focal=np.inf), "/left/camera_info: .* not finite"),
    ):
        with pytest.raises(CalibrationError, match=message):
            open_source(write_messages(tmp_path / name, [("/left/camera_info", 1, info), IMAGE]))


def info_of_rectified_images(width=WIDTH, height=HEIGHT):
    """CameraInfo of a driver that rectifies by itself, and fills only P."""
    info = camera_info(1, width, height, focal=0.0)
    info.p[:] = [60.0, 0, width / 2 - 0.5, 0, 0, 60.0, height / 2 - 0.5, 0, 0, 0, 1.0, 0]
    return info


def test_camera_info_with_p_alone(tmp_path):
    source = open_source(
        write_messages(tmp_path / "bag", [("/left/camera_info", 1, info_of_rectified_images()), IMAGE])
    )
    assert source.calibrated
    assert source.camera.params.tolist() == [60.0, 60.0, WIDTH / 2, HEIGHT / 2]


def test_p_alone_must_be_of_the_images_size_too(tmp_path):
    other_size, other_p = info_of_rectified_images(2 * WIDTH, 2 * HEIGHT), info_of_rectified_images()
    other_p.p[:] = info_of_rectified_images(2 * WIDTH, 2 * HEIGHT).p
    for name, info, message in (
        ("size", other_size, "the image is 64x48 but the calibration is for 128x96"),
        ("p", other_p, "/left/camera_info: .*middle of an image of about 128x96"),
    ):
        with pytest.raises(CalibrationError, match=message):
            open_source(write_messages(tmp_path / name, [("/left/camera_info", 1, info), IMAGE]))


@pytest.mark.parametrize("infos", [[], [("/left/camera_info", 1, camera_info(1, focal=0.0))]], ids=["none", "zero K"])
def test_without_a_calibration_in_camera_info_the_camera_is_guessed(tmp_path, infos):
    source = open_source(write_messages(tmp_path / "bag", [*infos, IMAGE]))
    assert not source.calibrated
    assert source.calibration.source is CalibrationSource.GUESSED
    assert source.camera.mean_focal_length() == pytest.approx(1.2 * WIDTH)
    assert all(frame.calibration is source.calibration for frame in source)


def test_a_bag_gets_the_camera_info_that_it_lacks(tmp_path):
    stamps_ns = [5, 7]
    images = [("/left/image_raw", 10 * ns, raw_image(ns, colour_image(ns))) for ns in stamps_ns]
    bag = write_messages(tmp_path / "bag", [("/left/camera_info", 1, camera_info(1, focal=0.0)), *images])
    camera = pycolmap.Camera(model="SIMPLE_RADIAL", width=WIDTH, height=HEIGHT, params=[50, 32, 24, 0.1])
    copy_with_camera_info(open_source(bag), bag, tmp_path / "copy", camera)
    copied = open_source(tmp_path / "copy")
    assert copied.calibration.source is CalibrationSource.RECORDED
    assert copied.camera.params.tolist() == pytest.approx([50, 50, 32, 24, 0.1, 0, 0, 0])
    assert [frame.stamp_ns for frame in copied] == stamps_ns
    for frame, ns in zip(copied, stamps_ns, strict=True):
        np.testing.assert_array_equal(frame.image, colour_image(ns))
    messages = [(message.topic, message.receive_time_ns) for message in iterate_serialized(tmp_path / "copy")]
    assert sorted(messages) == [(f"/left/{name}", 10 * ns) for name in ("camera_info", "image_raw") for ns in stamps_ns]


def test_a_bag_may_begin_at_time_zero_but_images_without_stamps_are_refused(tmp_path):
    source = open_source(raw_bag(tmp_path / "bag", [0, 33_333_333]))
    assert [frame.stamp_ns for frame in source] == [0, 33_333_333]
    with pytest.raises(SourceError, match="carry no stamps"):
        open_source(raw_bag(tmp_path / "without", [0, 0, 0]))


def test_an_image_that_comes_twice_is_skipped_and_counted(tmp_path, caplog):
    source = open_source(raw_bag(tmp_path / "bag", [1000, 3000, 2000, 3000, 4000]))
    with caplog.at_level(logging.WARNING):
        assert [frame.stamp_ns for frame in source] == [1000, 2000, 3000, 4000]
    assert source.skipped == 1
    assert "is not after 3000 ns" in caplog.text


@pytest.mark.parametrize("broken", [(0,), (1,), (0, 1, 2)])
def test_broken_images_are_skipped_and_counted_unless_all_are(tmp_path, broken):
    messages = [INFO]
    for index, stamp_ns in enumerate(STAMPS_NS):
        data = encode(colour_image(index), ".jpg")
        message = compressed_image(stamp_ns, data[:300] if index in broken else data)
        messages.append(("/left/image_raw/compressed", stamp_ns, message))
    source = open_source(write_messages(tmp_path / "bag", messages))
    if len(broken) == 3:
        with pytest.raises(SourceError, match="none of the 3 images on /left/image_raw/compressed can be used"):
            list(source)
        return
    assert [frame.stamp_ns for frame in source] == [stamp for i, stamp in enumerate(STAMPS_NS) if i not in broken]
    assert source.skipped == len(broken)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.9])
@pytest.mark.parametrize("lone_file", [False, True])
def test_truncated_bags_are_refused_with_a_way_out(tmp_path, storage, fraction, lone_file):
    bag = raw_bag(tmp_path / "bag", [1000 + index for index in range(20)], storage)
    (file,) = (path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))
    truncate(file, fraction)
    with pytest.raises(SourceError, match="truncated or damaged"):
        list(open_source(file if lone_file else bag))


@pytest.mark.parametrize("left", ["/left/camera_info", "/left/image_raw"])
def test_metadata_that_promise_more_than_the_files_hold_are_refused(tmp_path, left):
    bag = raw_bag(tmp_path / "bag", STAMPS_NS)
    message = camera_info(1) if left == "/left/camera_info" else raw_image(5, colour_image(0))
    other = write_messages(tmp_path / "other", [(left, 1, message)])
    (other / "other.mcap").replace(bag / "bag.mcap")
    with pytest.raises(SourceError, match="holds no message of it: the bag is damaged"):
        open_source(bag)


@pytest.mark.parametrize("suffix", ["mcap", "db3"])
def test_garbage_is_refused(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(SourceError, match="truncated or damaged"):
        open_source(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("text", ["", "nonsense", "{unclosed: [", "rosbag2_bagfile_information: {version: 8}"])
def test_broken_metadata_are_refused(tmp_path, text):
    bag = raw_bag(tmp_path / "bag", STAMPS_NS)
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(SourceError, match="truncated or damaged"):
        open_source(bag)


@pytest.mark.parametrize("storage", STORAGES)
def test_lost_metadata_are_made_up_for_from_the_storage_files(tmp_path, caplog, storage):
    bag = raw_bag(tmp_path / "bag", STAMPS_NS[:2], storage)
    second = raw_bag(tmp_path / "second", STAMPS_NS[2:], storage, begin_ns=100)
    (bag / "metadata.yaml").unlink()
    (part,) = (path for path in second.iterdir() if path.suffix in (".mcap", ".db3"))
    part.rename(bag / f"bag_1{part.suffix}")
    with caplog.at_level(logging.WARNING):
        source = open_source(bag)
        assert [frame.stamp_ns for frame in source] == STAMPS_NS
    assert len(source) == 3
    assert "has no metadata.yaml" in caplog.text


def packed_alone(tmp_path, storage, compression):
    """A bag's storage file as it is downloaded alone, without its metadata."""
    messages = [INFO, ("/left/image_raw", 2, raw_image(5, colour_image(0)))]
    bag = write_messages(tmp_path / "bag", messages, storage, compression)
    (file,) = (file for file in bag.iterdir() if file.name != "metadata.yaml")
    return file.rename(tmp_path / file.name)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("compression", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_storage_files_alone(tmp_path, storage, compression):
    file = packed_alone(tmp_path, storage, compression)
    source = open_source(file)
    np.testing.assert_array_equal(next(iter(source)).image, colour_image(0))
    assert (source.name, source.camera.params[0]) == ("bag", 60.0)
    (tmp_path / "folder").mkdir()
    file.rename(tmp_path / "folder" / file.name)
    (frame,) = open_source(tmp_path / "folder")
    np.testing.assert_array_equal(frame.image, colour_image(0))


def test_a_storage_file_that_was_unpacked_by_hand_makes_up_for_the_one_that_the_metadata_name(tmp_path, caplog):
    messages = [INFO, ("/left/image_raw", 2, raw_image(5, colour_image(0)))]
    bag = write_messages(tmp_path / "bag", messages, "mcap", CompressionMode.FILE)
    packed = bag / "bag.mcap.zstd"
    with packed.open("rb") as file:
        packed.with_suffix("").write_bytes(zstandard.ZstdDecompressor().stream_reader(file).read())
    assert len(open_source(bag)) == 1
    packed.unlink()
    (frame,) = open_source(bag)
    np.testing.assert_array_equal(frame.image, colour_image(0))
    assert "names bag.mcap.zstd, which is missing" in caplog.text


def test_bags_packed_otherwise_or_cut_off_are_refused(tmp_path):
    file = packed_alone(tmp_path, "mcap", CompressionMode.FILE)
    with pytest.raises(SourceError, match=r"drive\.mcap\.lz4 is a packed bag: unpack it first"):
        open_source(file.rename(tmp_path / "drive.mcap.lz4"))
    cut = (tmp_path / "drive.mcap.lz4").rename(tmp_path / "cut.mcap.zstd")
    truncate(cut, 0.5)
    with pytest.raises(SourceError, match=r"the bag .*cut\.mcap\.zstd is truncated or damaged"):
        open_source(cut)


def test_messages_of_foreign_types_pass_serialized_but_are_not_decoded(tmp_path):
    bag = raw_bag(tmp_path / "bag", STAMPS_NS)
    content = (bag / "bag.mcap").read_bytes()
    (tmp_path / "a.mcap").write_bytes(content.replace(b"sensor_msgs/msg/CameraInfo", b"my_own_msgs/msg/CameraInfo"))
    (info,) = iterate_serialized(tmp_path / "a.mcap", ["/left/camera_info"])
    assert info.msgtype == "my_own_msgs/msg/CameraInfo"
    with pytest.raises(SourceError, match="my_own_msgs/msg/CameraInfo of /left/camera_info is not one of ROS 2's own"):
        list(iterate_bag_messages(tmp_path / "a.mcap", ["/left/camera_info"]))
    assert len(list(iterate_bag_messages(tmp_path / "a.mcap", ["/left/image_raw"]))) == 3


@pytest.mark.parametrize(("data", "name"), [(b"\0\0\0\x01\x67" + bytes(60), "video"), (b"II*\0" + bytes(60), "a TIFF")])
@pytest.mark.parametrize("with_info", [True, False])
def test_compressed_images_of_another_kind_are_named(tmp_path, data, name, with_info):
    messages = [("/left/image_raw/compressed", 2, compressed_image(5, data))]
    path = write_messages(tmp_path / "bag", [INFO, *messages] if with_info else messages)
    with pytest.raises(SourceError, match=name):
        list(open_source(path))
