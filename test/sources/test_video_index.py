"""Videos whose container says something else than its frames: variable rate, edit lists, sound alone, cut files."""

import logging
from fractions import Fraction

import av
import numpy as np
import pytest
from source_data import HEIGHT, WIDTH, truncate

from visloc_ros.core.errors import SourceError
from visloc_ros.sources import SourceConfig, open_source

MILLISECOND = 1_000_000
GAPS_MS = [33, 400, 40, 100, 33, 33, 400, 100] * 6
TIMES_MS = np.concatenate([[0], np.cumsum(GAPS_MS)])


def write(path, times_ms, codec="mpeg4", options=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, time_ms in enumerate(times_ms):
            pixels = np.full((HEIGHT, WIDTH, 3), 5 * index % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = int(time_ms), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut_by_edit_list(path, whole, hidden_s):
    """The same packets, the first of them hidden by an edit list."""
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts -= int(hidden_s / stream.time_base)
                packet.dts -= int(hidden_s / stream.time_base)
                packet.stream = copied
                target.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_variable_rate_is_read_by_the_index(tmp_path, caplog, name):
    path = write(tmp_path / name, TIMES_MS)
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
        stamps_ns = [frame.stamp_ns for frame in source]
        two_a_second = open_source(path, SourceConfig(fps=2.0))
        chosen_ns = [frame.stamp_ns for frame in two_a_second]
    assert (len(source), source.skipped, caplog.text) == (len(TIMES_MS), 0, "")
    np.testing.assert_allclose(stamps_ns, TIMES_MS * MILLISECOND, atol=MILLISECOND)
    assert len(chosen_ns) == len(two_a_second) == len({int(time_ms) // 500 for time_ms in TIMES_MS})


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path, caplog):
    whole = write(tmp_path / "whole.mp4", np.arange(100) * 40, options={"g": "25"})
    path = cut_by_edit_list(tmp_path / "a.mp4", whole, 1.28)
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
        frames = list(source)
    assert len(frames) == len(source) == 68
    assert [frame.stamp_ns for frame in frames[:3]] == [0, 40 * MILLISECOND, 80 * MILLISECOND]
    assert caplog.text == ""
    assert len(list(open_source(path, SourceConfig(fps=5.0)))) == 14


def test_a_matroska_file_that_was_cut_off_is_named(tmp_path, caplog):
    path = write(tmp_path / "a.mkv", np.arange(100) * 40)
    truncate(path, 0.5)
    with caplog.at_level(logging.WARNING):
        source = open_source(path)
    assert "may be truncated" in caplog.text
    assert len(list(source)) == len(source) < 100


def test_sound_alone_is_named(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match=r"holds no images, only sound \(aac\)"):
        open_source(tmp_path / "a.mp4")
