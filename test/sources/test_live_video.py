"""Images as they come: at the pace of a video, the newest first of all."""

import time

import cv2
import numpy as np
import pytest

from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.sources.base import SourceConfig
from visloc_ros.sources.live_video import LiveVideo

COUNT, RATE_HZ = 10, 20.0


@pytest.fixture
def video(tmp_path):
    """Ten grey images, each brighter than the one before."""
    path = tmp_path / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE_HZ, (64, 48))
    for index in range(COUNT):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    return path


def test_a_video_comes_at_its_own_pace_and_whole_for_who_is_quick(video):
    with LiveVideo(str(video)) as live:
        begin_s = time.monotonic()
        frames = list(live)
        assert time.monotonic() - begin_s > 0.7 * COUNT / RATE_HZ
        assert live.dropped + len(frames) == COUNT - 1  # the first shows that something comes
    stamps_ns = [frame.stamp_ns for frame in frames]
    assert stamps_ns == sorted(set(stamps_ns))
    assert stamps_ns[-1] == pytest.approx((COUNT - 1) / RATE_HZ * 1e9, rel=0.01)
    assert frames[-1].image.mean() == pytest.approx(20 * (COUNT - 1), abs=6)
    assert frames[0].calibration.is_provisional


def test_who_is_slow_is_given_the_newest(video):
    with LiveVideo(str(video)) as live:
        images = iter(live)
        next(images)
        time.sleep(1.5 * COUNT / RATE_HZ)  # all have come meanwhile
        (last,) = images
        assert last.stamp_ns == pytest.approx((COUNT - 1) / RATE_HZ * 1e9, rel=0.01)
        assert live.dropped == COUNT - 3


@pytest.mark.parametrize("address", ["/nowhere/video.mp4", "77", "", "rtsp://127.0.0.1:1/nothing"])
def test_where_nothing_comes_it_is_reported(address):
    with pytest.raises(SourceError, match="no image comes"):
        LiveVideo(address)


def test_a_calibration_of_another_camera_is_refused(video, tmp_path):
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 640 480 500 500 320 240\n")
    with pytest.raises(CalibrationError):
        LiveVideo(str(video), SourceConfig(camera=str(tmp_path / "cameras.txt")))
