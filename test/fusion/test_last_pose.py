"""The last pose on disk: whole or not at all, and never believed unread."""

import os

import numpy as np
import pytest

from visloc_ros.core.errors import OutputError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.fusion.last_pose import FILE_NAME, LastPose, read_last_pose, write_last_pose

POSE = LastPose(
    "room",
    1_700_000_000_123_456_789,
    SE3.from_rotation_vector([0.1, -0.4, 2.0], [1.5, -2.5, 0.25]),
    np.diag(np.arange(6) + 0.5),
)


def test_a_pose_comes_back_exactly(tmp_path):
    assert read_last_pose(tmp_path / "new") is None
    write_last_pose(tmp_path / "new", POSE)
    again = read_last_pose(tmp_path / "new")
    assert (again.map_name, again.stamp_ns) == (POSE.map_name, POSE.stamp_ns)
    assert again.map_from_base.is_close(POSE.map_from_base, 1e-12, 1e-6)
    assert np.array_equal(again.covariance, POSE.covariance)
    assert os.listdir(tmp_path / "new") == [FILE_NAME]


def test_a_failed_write_keeps_the_old_pose_and_leaves_nothing_behind(tmp_path):
    write_last_pose(tmp_path, POSE)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_last_pose(tmp_path, LastPose("room", 1, POSE.map_from_base, np.full((6, 6), np.nan)))
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_last_pose(tmp_path / "file", POSE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace("1.5", "1e999"),
        lambda text: text.replace("1.5", '"there"'),
        lambda text: text.replace('"quaternion_wxyz": [', '"quaternion_wxyz": [1.0, '),
        lambda text: text.replace("2.5", "[2.5]"),
        lambda text: "[" * 100_000,
        lambda text: text + " " * 100_000,
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path, spoil):
    write_last_pose(tmp_path, POSE)
    path = tmp_path / FILE_NAME
    path.write_text(spoil(path.read_text()))
    with pytest.raises(SourceError, match="delete it"):
        read_last_pose(tmp_path)


def test_a_quaternion_of_another_length_is_no_rotation(tmp_path):
    write_last_pose(tmp_path, LastPose("room", 1, SE3.identity(), np.eye(6)))
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"quaternion_wxyz": [1.0', '"quaternion_wxyz": [2.0'))
    with pytest.raises(SourceError, match="length"):
        read_last_pose(tmp_path)
