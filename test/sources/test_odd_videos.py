"""Videos that OpenCV reads wrongly without a word, and names that end its process."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest
from source_data import HEIGHT, WIDTH, colour_image, write_images

from visloc_ros.core.errors import SourceError
from visloc_ros.sources import open_source

FRAMES = 12


def write(path, sizes, options=None, codec="libx264"):
    """Frames of these sizes, each an encoder of its own, in one stream."""
    with av.open(str(path), "w", format="mpegts" if path.suffix == ".ts" else None) as container:
        streams = []
        for part, (width, height) in enumerate(sizes):
            encoder = av.CodecContext.create(codec, "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate, encoder.options = Fraction(1, 25), 25, options or {}
            if not streams:
                stream = container.add_stream(codec, rate=25, options=options or {})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                streams.append(stream)
            for index in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(colour_image(index, width, height))
                frame.pts, frame.time_base = part * FRAMES + index, Fraction(1, 25)
                _mux(container, streams[0], encoder if part else streams[0], frame)
            _mux(container, streams[0], encoder if part else streams[0], None)
    return path


def _mux(container, stream, encoder, frame):
    for packet in encoder.encode(frame):
        packet.stream = stream
        container.mux(packet)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_interlaced_frames_are_refused_with_a_way_out(tmp_path, codec):
    path = write(tmp_path / "a.ts", [(WIDTH, HEIGHT)], {"flags": "+ilme+ildct", "x264-params": "tff=1"}, codec)
    with pytest.raises(SourceError, match=r"is interlaced, .*'ffmpeg -i a\.ts -vf bwdif new\.mp4'"):
        open_source(path)


def test_a_size_that_changes_is_refused_and_the_sizes_are_named(tmp_path):
    path = write(tmp_path / "a.ts", [(WIDTH, HEIGHT), (HEIGHT, WIDTH)])
    with pytest.raises(SourceError, match=rf"change their size \({WIDTH}x{HEIGHT}, {HEIGHT}x{WIDTH}\): cut the video"):
        open_source(path)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    write(tmp_path / "2024-11-25T10:30:12.mp4", [(WIDTH, HEIGHT)])
    monkeypatch.chdir(tmp_path)
    (video,) = tmp_path.iterdir()
    source = open_source(video.relative_to(tmp_path))
    assert len(list(source)) == FRAMES


@pytest.mark.parametrize("kind", ["video", "folder", "image"])
def test_a_name_that_is_not_in_utf_8_is_refused(tmp_path, kind):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/a\xe9")
    try:
        if kind == "video":
            odd += ".mp4"
            os.rename(write(tmp_path / "a.mp4", [(WIDTH, HEIGHT)]), odd)
        else:
            write_images(tmp_path / "a", ["1.png", "2.png"])
            os.rename(tmp_path / "a", odd)
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    if kind == "image":
        os.rename(odd, tmp_path / "a")
        os.rename(tmp_path / "a" / "1.png", os.fsencode(tmp_path) + b"/a/a\xe9.png")
        odd = str(tmp_path / "a")
    with pytest.raises(SourceError, match=r"a\\udce9.* is not in UTF-8.*: rename it"):
        open_source(type(tmp_path)(odd))


def test_a_plain_video_passes(tmp_path):
    frames = list(open_source(write(tmp_path / "a.mp4", [(WIDTH, HEIGHT)])))
    assert len(frames) == FRAMES
    np.testing.assert_allclose(frames[3].image.mean((0, 1)), colour_image(3).mean((0, 1)), atol=8)
