"""Bags as clocks, drivers, recorders and people really leave them."""

import logging
import re
import sqlite3

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from source_data import (
    HEIGHT,
    WIDTH,
    camera_info,
    colour_image,
    compressed_image,
    raw_bag,
    raw_image,
    write_messages,
)

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import CalibrationError, OutputError, SourceError
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_messages import list_topics
from visloc_ros.sources.bag_writer import BagWriter

SECOND, HOUR = 1_000_000_000, 3_600_000_000_000
BEGIN = 1_700_000_000 * SECOND
STAMPS = [BEGIN + index * SECOND // 30 for index in range(12)]


def edit_metadata(bag, **changes):
    metadata = yaml.safe_load((bag / "metadata.yaml").read_text())
    metadata["rosbag2_bagfile_information"] |= changes
    (bag / "metadata.yaml").write_text(yaml.safe_dump(metadata))


@pytest.mark.parametrize("index", [0, 1, 5, 10, 11])
@pytest.mark.parametrize("jump_ns", [HOUR, -HOUR])
def test_one_wrong_stamp_costs_no_other_image(tmp_path, caplog, index, jump_ns):
    stamps = [*STAMPS]
    stamps[index] += jump_ns
    source = open_source(raw_bag(tmp_path / "bag", stamps))
    read = [frame.stamp_ns for frame in source]
    others = STAMPS[:index] + STAMPS[index + 1 :]
    assert [stamp for stamp in read if stamp in others] == others
    assert source.skipped == 12 - len(read)
    if 1 < index < 8:
        assert read == others
        assert ("s ahead of those that follow it" if jump_ns > 0 else "the clock was set back") in caplog.text


@pytest.mark.parametrize("overtaking", [1, 2, 3])
def test_images_that_overtake_one_on_their_way_are_put_in_order(tmp_path, overtaking):
    stamps = [*STAMPS]
    stamps.insert(3, stamps.pop(3 + overtaking))
    source = open_source(raw_bag(tmp_path / "bag", stamps))
    frames = list(source)
    assert ([frame.stamp_ns for frame in frames], source.skipped) == (STAMPS, 0)
    np.testing.assert_array_equal(frames[3 + overtaking].image, colour_image(3))


def test_a_clock_that_is_set_back_is_named(tmp_path, caplog):
    source = open_source(raw_bag(tmp_path / "bag", STAMPS[:8] + [stamp - HOUR for stamp in STAMPS[8:]]))
    assert [frame.stamp_ns for frame in source] == STAMPS[:8]
    assert source.skipped == 4
    assert "its stamp is 3599.933 s before that of an earlier one: the clock was set back" in caplog.text


def test_damaged_messages_and_impossible_camera_infos_cost_only_themselves(tmp_path, caplog):
    impossible = camera_info(1)
    impossible.k = -impossible.k
    bag = with_infos(
        tmp_path / "bag", [camera_info(1)] * 4 + [impossible] * 2 + [camera_info(1)] * 6, storage="sqlite3"
    )
    with sqlite3.connect(bag / "bag.db3") as connection:
        connection.execute("update messages set data = x'00010000' where timestamp in (20, 70, 71)")
    connection.close()
    source = open_source(bag)
    read = [frame.stamp_ns for frame in source]
    assert (len(read), source.skipped) == (11, 1)
    assert source.camera.focal_length_x == 60.0
    assert "keeping the calibration so far: /left/camera_info" in caplog.text


def test_images_before_the_simulations_clock_carry_no_stamp(tmp_path, caplog):
    source = open_source(raw_bag(tmp_path / "bag", [0, 0, 0, *STAMPS]))
    assert [frame.stamp_ns for frame in source] == STAMPS
    assert source.skipped == 3
    assert "it carries no stamp" in caplog.text


def with_infos(path, infos, image=colour_image, storage="mcap"):
    """Each image with the CameraInfo of its index, before or behind it in turn."""
    messages = []
    for index, stamp_ns in enumerate(STAMPS):
        pair = [("/left/image_raw", raw_image(stamp_ns, image(index)))]
        if infos[index] is not None:
            infos[index].header = pair[0][1].header
            pair.insert(index % 2, ("/left/camera_info", infos[index]))
        messages += [(topic, 10 * index + place, message) for place, (topic, message) in enumerate(pair)]
    return write_messages(path, messages, storage)


def uncalibrated():
    info = camera_info(1)
    info.k = np.zeros(9)
    return info


@pytest.mark.parametrize("first", [uncalibrated, lambda: camera_info(1, WIDTH // 2, HEIGHT // 2)])
def test_the_first_camera_info_may_hold_no_calibration_of_the_images(tmp_path, first):
    source = open_source(with_infos(tmp_path / "bag", [first(), first()] + [camera_info(1) for _ in STAMPS[2:]]))
    assert source.calibration.source is CalibrationSource.RECORDED
    assert {tuple(frame.camera.params) for frame in source} == {(60, 60, WIDTH / 2, HEIGHT / 2)}


def test_a_calibration_that_changes_holds_for_the_images_of_its_stamp(tmp_path):
    focal_lengths = [60.0] * 5 + [90.0] * 4 + [120.0] * 3
    frames = list(open_source(with_infos(tmp_path / "bag", [camera_info(1, focal=one) for one in focal_lengths])))
    assert [frame.camera.focal_length_x for frame in frames] == focal_lengths
    assert len({id(frame.calibration) for frame in frames}) == 3


def test_a_resolution_that_changes_with_its_camera_info(tmp_path):
    sizes = [(WIDTH, HEIGHT)] * 6 + [(WIDTH // 2, HEIGHT // 2)] * 6
    infos = [camera_info(1, *size) for size in sizes]
    frames = list(open_source(with_infos(tmp_path / "bag", infos, lambda index: colour_image(index, *sizes[index]))))
    assert [(frame.camera.width, frame.camera.height) for frame in frames] == sizes
    infos = [camera_info(1)] + [None] * 11
    source = open_source(with_infos(tmp_path / "b", infos, lambda index: colour_image(index, *sizes[index])))
    with pytest.raises(CalibrationError, match=f"image is {WIDTH // 2}x{HEIGHT // 2} but"):
        list(source)


DEPTHS = (1500 + np.arange(WIDTH * HEIGHT, dtype=np.uint16)).reshape(HEIGHT, WIDTH)


def depth_image(stamp_ns):
    message = raw_image(stamp_ns, np.zeros((HEIGHT, WIDTH), np.uint8))
    message.encoding, message.step, message.data = "16UC1", 2 * WIDTH, DEPTHS.view(np.uint8).ravel()
    return message


def packed_depth_image(stamp_ns):
    message = compressed_image(stamp_ns, cv2.imencode(".png", DEPTHS)[1].tobytes())
    message.format = "16UC1; png compressed "
    return message


@pytest.mark.parametrize(("make", "end"), [(depth_image, ""), (packed_depth_image, "/compressed")])
def test_depth_images_are_no_grey_ones(tmp_path, make, end):
    path = write_messages(tmp_path / "depth", [(f"/camera/depth/image_rect_raw{end}", 1, make(5))])
    with pytest.raises(SourceError, match=r"holds depth images .16UC1.*choose the topic of the colour or grey camera"):
        open_source(path)
    path = write_messages(tmp_path / "thermal", [(f"/thermal/image_raw{end}", 1, make(5))])
    assert len(list(open_source(path))) == 1


@pytest.mark.parametrize(
    ("msgtype", "transport"),
    [
        ("ffmpeg_image_transport_msgs/msg/FFMPEGPacket", "ffmpeg"),
        ("theora_image_transport/msg/Packet", "theora"),
        ("foxglove_msgs/msg/CompressedVideo", "foxglove"),
    ],
)
@pytest.mark.parametrize("topic", ["", "/camera/video"])
def test_transports_of_video_are_named_with_a_way_out(tmp_path, msgtype, transport, topic):
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("std_msgs/Header header\nuint8[] data\n", msgtype))
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/camera/video", msgtype, typestore=store)
        writer.write(connection, 1, bytes(64))
    with pytest.raises(SourceError, match=f"/camera/video holds video: .* republish {transport} raw'"):
        open_source(tmp_path / "bag", SourceConfig(image_topic=topic))


def test_renamed_files_and_newer_metadata_do_not_matter(tmp_path, caplog):
    renamed, newer = raw_bag(tmp_path / "a", STAMPS), raw_bag(tmp_path / "b", STAMPS)
    (renamed / "a.mcap").rename(renamed / "kitchen.mcap")
    edit_metadata(newer, version=10)
    for bag, words in (
        (renamed, "names a.mcap, which is missing (was it renamed?)"),
        (newer, "is of version 10, newer"),
    ):
        assert [frame.stamp_ns for frame in open_source(bag)] == STAMPS
        assert words in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"storage_identifier": "rosbag_v2"}, "Storage plugin 'rosbag_v2' not supported"),
        ({"compression_format": "lz4", "compression_mode": "FILE"}, "Compression format 'lz4' is not supported"),
    ],
)
def test_a_bag_of_another_kind_is_not_called_damaged(tmp_path, changes, words):
    bag = raw_bag(tmp_path / "bag", STAMPS)
    edit_metadata(bag, **changes)
    with pytest.raises(SourceError, match=rf"of a kind that is not read \({words}\): .*'ros2 bag convert'"):
        open_source(bag)


def test_messages_left_in_a_journal_are_not_lost_without_a_word(tmp_path):
    bag = raw_bag(tmp_path / "bag", STAMPS, "sqlite3")
    database = bag / "bag.db3"
    with sqlite3.connect(database) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("delete from messages where timestamp > 8")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in bag.iterdir():  # as a recorder that is killed leaves them
        (copy / file.name).write_bytes(file.read_bytes())
    connection.close()
    with pytest.raises(SourceError, match=r"bag\.db3-wal holds messages .*'sqlite3 bag\.db3 \"pragma wal_checkpoint"):
        open_source(copy)
    merged = sqlite3.connect(copy / "bag.db3")
    merged.execute("pragma wal_checkpoint(truncate)")
    merged.close()
    assert len(list(open_source(copy / "bag.db3"))) == 7


@pytest.mark.parametrize("name", ["run#3", "run?3", "run%203"])
def test_names_that_mean_something_else_to_sqlite(tmp_path, name):
    bag = raw_bag(tmp_path / "bag", STAMPS, "sqlite3")
    bag.rename(tmp_path / name)
    with pytest.raises(SourceError, match=f"SQLite cannot open .*{re.escape(name)}/bag.db3 by its name: rename"):
        list_topics(tmp_path / name)
    with pytest.raises(OutputError, match="SQLite cannot open"), BagWriter(tmp_path / f"new {name}", "sqlite3"):
        pass
    raw_bag(tmp_path / "other", STAMPS).rename(tmp_path / f"mcap {name}")
    assert len(open_source(tmp_path / f"mcap {name}")) == 12


def test_a_bag_compressed_as_a_whole_is_still_read(tmp_path):
    messages = [("/left/image_raw", index, raw_image(stamp, colour_image(index))) for index, stamp in enumerate(STAMPS)]
    bag = write_messages(tmp_path / "bag", messages, "sqlite3", CompressionMode.FILE)
    assert [frame.stamp_ns for frame in open_source(bag)] == STAMPS


@pytest.fixture(autouse=True)
def warnings(caplog):
    caplog.set_level(logging.WARNING)
