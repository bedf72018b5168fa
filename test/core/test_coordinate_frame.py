"""Which frame a map is in, and how those that it was in before lie in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from room_versions import unpacked_room, write_second_version

from visloc_ros.core.coordinate_frame import MOST_EARLIER, CoordinateFrame
from visloc_ros.core.errors import ManifestError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.manifest import MANIFEST_NAME, in_frame, read_manifest, write_manifest
from visloc_ros.core.map import open_map

TURN = SE3.from_quaternion([np.cos(0.2), 0.0, 0.0, np.sin(0.2)], [1.0, -2.0, 0.5])
MOVED = Sim3.from_se3(TURN, 1.5)
POINTS = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [-4.0, 0.5, 0.25]])


def test_a_moved_frame_is_another_one_and_knows_how_the_first_lies_in_it():
    first = CoordinateFrame.new()
    second = first.moved(MOVED)
    assert second != first
    np.testing.assert_allclose(second.from_frame(first) @ POINTS, MOVED @ POINTS)
    np.testing.assert_allclose(first.from_frame(second) @ (MOVED @ POINTS), POINTS, atol=1e-12)


def test_transforms_compose_over_several_alignments():
    first = CoordinateFrame.new()
    third = first.moved(MOVED).moved(MOVED)
    np.testing.assert_allclose(third.from_frame(first) @ POINTS, MOVED @ (MOVED @ POINTS))


def test_two_copies_that_were_aligned_apart_are_related_by_the_frame_that_both_were_in():
    first = CoordinateFrame.new()
    one, other = first.moved(MOVED), first.moved(MOVED.inverse)
    np.testing.assert_allclose(one.from_frame(other) @ (MOVED.inverse @ POINTS), MOVED @ POINTS)


def test_frames_of_two_builds_have_no_transform():
    assert CoordinateFrame.new().from_frame(CoordinateFrame.new()) is None


def test_the_newest_transforms_are_kept():
    frames = [CoordinateFrame.new()]
    for _ in range(MOST_EARLIER + 3):
        frames.append(frames[-1].moved(MOVED))
    assert frames[-1].from_frame(frames[-2]) is not None
    assert frames[-1].from_frame(frames[0]) is None


def test_the_manifest_keeps_frame_and_transforms(tmp_path):
    folder = unpacked_room(tmp_path / "room")
    before = read_manifest(folder)
    write_manifest(folder, in_frame(before, before.frame.moved(MOVED)))
    after = read_manifest(folder)
    np.testing.assert_allclose(after.frame.from_frame(before.frame) @ POINTS, MOVED @ POINTS)
    assert after.model_id == before.model_id


def older(folder):
    """The same map, as it was written before maps had frames."""
    values = json.loads((folder / MANIFEST_NAME).read_text())
    for name in ("frame_uuid", "earlier_frames", "history"):
        values.pop(name, None)
    (folder / MANIFEST_NAME).write_text(json.dumps(values))
    return folder


def test_an_older_map_has_the_same_frame_whenever_it_is_opened(tmp_path):
    one, copied = (older(unpacked_room(tmp_path / name)) for name in ("one", "copied"))
    assert open_map(one).identity.frame == open_map(copied).identity.frame == open_map(one).identity.frame


def test_an_older_map_of_other_points_has_another_frame(tmp_path):
    room, other = (older(unpacked_room(tmp_path / name)) for name in ("room", "other"))
    write_second_version(other)
    assert read_manifest(older(other)).frame != read_manifest(room).frame


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"uuid": "a", "translation": [0, 0], "rotation_wxyz": [1, 0, 0, 0], "scale": 1},
        {"uuid": "a", "translation": [0, 0, 0], "rotation_wxyz": [0, 0, 0, 0], "scale": 1},
        {"uuid": "a", "translation": [0, 0, 0], "rotation_wxyz": [1, 0, 0, 0], "scale": 0},
        {"uuid": "a", "translation": [0, 0, 1e300], "rotation_wxyz": [1, 0, 0, 0], "scale": 1},
        {"uuid": "a", "translation": [0, 0, None], "rotation_wxyz": [1, 0, 0, 0], "scale": 1},
    ],
)
def test_a_garbled_transform_is_refused(tmp_path, entry):
    folder = unpacked_room(tmp_path / "room")
    values = json.loads((folder / MANIFEST_NAME).read_text())
    (folder / MANIFEST_NAME).write_text(json.dumps({**values, "earlier_frames": [entry]}))
    with pytest.raises(ManifestError, match="earlier_frames"):
        read_manifest(folder)
