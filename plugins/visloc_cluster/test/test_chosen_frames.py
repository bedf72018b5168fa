"""Reading some frames of a source as if all had been read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from visloc_cluster.mapping.chosen_frames import ChosenFrames, FrameKey, open_recording
from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Frame
from visloc_ros.mapping.recordings import Recording
from visloc_ros.sources import FrameSource, open_source
from visloc_ros.sources.ros_images import encode_jpeg

COUNT = 400


def picture(number: int) -> np.ndarray:
    """An image that shows its number, as bits of black and white."""
    bits = np.array([(number >> bit) & 1 for bit in range(12)], np.uint8).reshape(3, 4)
    return np.kron(bits * 255, np.ones((16, 16), np.uint8))


def shown(frame: Frame) -> int:
    cells = frame.grey.reshape(3, 16, 4, 16)[:, 4:12, :, 4:12].mean(axis=(1, 3)) > 127
    return int(np.sum(cells.ravel() << np.arange(12)))


@pytest.fixture(scope="module", params=["steady", "uneven"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FrameSource:
    """A video with a key frame every 50 frames; the uneven one halves its rate after a quarter, as phones do."""
    path = tmp_path_factory.mktemp("video") / f"{request.param}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "50", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(picture(number), "gray").reformat(format="yuv420p")
            is_slow = request.param == "uneven" and number > COUNT // 4
            frame.pts = 2 * number - COUNT // 4 if is_slow else number
            frame.time_base = Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return open_source(path)


def keys_of(source: FrameSource) -> list[FrameKey]:
    return [FrameKey(frame.stamp_ns, frame.name) for frame in source]


def test_a_range_of_a_video_is_that_of_the_whole(video: FrameSource, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = keys_of(video)
    grabbed = 0

    class Counted:
        def __init__(self, capture: object) -> None:
            self.capture = capture

        def __getattr__(self, name: str) -> object:
            nonlocal grabbed
            grabbed += name == "grab"
            return getattr(self.capture, name)

    from visloc_ros.sources import video as module

    opened = module._open
    monkeypatch.setattr(module, "_open", lambda path: Counted(opened(path)))
    for rows in (range(300, 310, 2), range(0, 3), (350,), range(120, 130)):
        chosen = ChosenFrames(video, [keys[row] for row in rows])
        frames = list(chosen)
        assert [shown(frame) for frame in frames] == list(rows)
        assert [FrameKey(frame.stamp_ns, frame.name) for frame in frames] == [keys[row] for row in rows]
        assert chosen.found == len(chosen)
    assert grabbed < 500  # all that comes before would be 800


def test_other_images_of_a_folder_are_not_read(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.jpg").write_bytes(encode_jpeg(picture(number)))
    source = open_source(tmp_path)
    keys = keys_of(source)
    (tmp_path / "0.jpg").unlink()
    assert [frame.name for frame in ChosenFrames(source, keys[2:4])] == ["2.jpg", "3.jpg"]


def test_a_recording_is_opened_once_and_not_if_it_has_changed(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_bytes(encode_jpeg(picture(number)))
    recording = Recording(tmp_path)
    fingerprint = recording.fingerprint()
    assert open_recording(recording, fingerprint) is open_recording(recording, fingerprint)
    (tmp_path / "1.jpg").write_bytes(encode_jpeg(picture(3)))
    with pytest.raises(SourceError, match="is not what it was when the work began"):
        open_recording(recording, fingerprint)
