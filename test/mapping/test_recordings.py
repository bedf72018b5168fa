"""Noticing that the files of a recording have changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.execution.shared_place import mark_place
from visloc_ros.mapping.recordings import Recording, check_unchanged
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.ros_images import encode_jpeg


def picture(number: int) -> np.ndarray:
    return np.full((48, 64), 40 * number, np.uint8)


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Images with all that a source may read beside itself, some of it behind links."""
    day = tmp_path / "day"
    files = {
        "drive/sequences/06/image_2/0.jpg": encode_jpeg(picture(1)),
        "drive/poses/06.txt": b"pose",
        "drive/calib_cam_to_cam.txt": b"camera",
        "drive/sequences/info.txt": b"scanner",
        "elsewhere/left/1.jpg": encode_jpeg(picture(2)),
        "elsewhere/info.txt": b"scanner",
        "elsewhere/2.jpg": encode_jpeg(picture(3)),
        "camera.yaml": b"camera",
        "model/images.txt": b"poses",
        "model/cameras.txt": b"cameras",
    }
    for name, content in files.items():
        (day / name).parent.mkdir(parents=True, exist_ok=True)
        (day / name).write_bytes(content)
    (day / "drive/sequences/06/left").symlink_to("../../../elsewhere/left")
    (day / "drive/sequences/06/2.jpg").symlink_to("../../../elsewhere/2.jpg")
    (day / "drive/sequences/06/loop").symlink_to("../06")
    return day


def recording_of(day: Path, every: int = 2) -> Recording:
    config = SourceConfig(every=every, camera=str(day / "camera.yaml"))
    return Recording(day / "drive/sequences/06", config, day / "model/images.txt")


def adds_to(name: str) -> Callable[[Path], None]:
    def change(day: Path) -> None:
        with (day / name).open("ab") as file:
            file.write(b" ")

    return change


def swaps_bytes(day: Path) -> None:
    """As many bytes as before, at the same time."""
    path = day / "elsewhere/left/1.jpg"
    state, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + b"\0")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def renames(day: Path) -> None:
    (day / "drive/sequences/06/image_2/0.jpg").rename(day / "drive/sequences/06/image_2/3.jpg")


def adds_thumbnails(day: Path) -> None:
    """Which mean that the poses are of images turned upright."""
    (day / "model/thumbnails").mkdir()


FILES_READ = (
    "drive/sequences/06/image_2/0.jpg",
    "drive/sequences/06/times.txt",
    "drive/poses/06.txt",
    "drive/calib_cam_to_cam.txt",
    "drive/sequences/info.txt",
    "elsewhere/left/1.jpg",
    "elsewhere/info.txt",
    "elsewhere/2.jpg",
    "camera.yaml",
    "model/images.txt",
    "model/cameras.txt",
)


@pytest.mark.parametrize(
    "change",
    [*map(adds_to, FILES_READ), swaps_bytes, renames, adds_thumbnails],
    ids=[*FILES_READ, "other bytes", "another name", "thumbnails"],
)
def test_a_recording_is_another_one_once_what_its_frames_come_from_has_changed(
    day: Path, change: Callable[[Path], None]
) -> None:
    recording = recording_of(day)
    before = recording.fingerprint()
    change(day)
    assert recording.fingerprint() != before


def test_a_recording_that_is_read_otherwise_is_another_one(day: Path) -> None:
    assert recording_of(day).fingerprint() != recording_of(day, every=3).fingerprint()


def test_a_recording_that_is_moved_or_touched_is_the_same(day: Path, tmp_path: Path) -> None:
    recording = recording_of(day)
    before = recording.fingerprint()
    os.utime(day / "camera.yaml", (1, 1))
    work = day / "drive/sequences/06/work"
    mark_place(str(work))
    (work / "result.npz").write_bytes(b"result")
    (day / "drive/sequences/06/.hidden.partial").mkdir()
    assert recording.fingerprint() == before
    assert Recording.from_mapping(recording.to_mapping()).fingerprint() == before
    day.rename(tmp_path / "moved")
    assert recording_of(tmp_path / "moved").fingerprint() == before


def test_a_photo_has_the_files_beside_it(day: Path) -> None:
    photo = Recording(day / "elsewhere/2.jpg")
    before = photo.fingerprint()
    adds_to("elsewhere/camera.yaml")(day)
    assert photo.fingerprint() != before


def test_a_worker_refuses_a_recording_that_is_not_the_one_of_its_task(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(encode_jpeg(picture(number)))
    recording = Recording(tmp_path)
    fingerprint = recording.fingerprint()
    check_unchanged(recording, fingerprint)
    (tmp_path / "1.jpg").write_bytes(encode_jpeg(picture(3)))
    with pytest.raises(SourceError, match="is not what it was when the work began"):
        check_unchanged(recording, fingerprint)
