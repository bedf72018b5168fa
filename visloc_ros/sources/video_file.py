"""What a video file says of itself (PyAV): camera, times of its frames, whether it is whole, and whether OpenCV can.

Nothing but some frames is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import SourceError
from visloc_ros.core.trajectory import NANOSECONDS

_PLACES = 16  # at which frames are looked at: each takes as long as decoding some frames
_SLACK_NS = NANOSECONDS // 2  # sound often ends that much later than the last frame


class VideoIndex(NamedTuple):
    """Presentation times (N,) of the frames that are shown, from the first on in order, in nanoseconds.

    Frames that an edit list hides are left out. ``num_announced`` is the number of frames by the container, 0 where it
    states none; ``is_whole``: nothing of the file seems to be missing.
    """

    stamps_ns: NDArray[np.int64]
    num_announced: int
    is_whole: bool


_MAKERS = ("com.apple.quicktime.make", "com.android.manufacturer", "make")
_MODELS = ("com.apple.quicktime.model", "com.android.model", "model")
_LONGEST = 100  # characters of a name


def read_maker(path: Path) -> str:
    """Maker and model of the camera on one line; empty where the file does not state them, or cannot be read."""
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            names = (_first(container.metadata, keys) for keys in (_MAKERS, _MODELS))
            return " ".join(" ".join(names).split())
    except (av.FFmpegError, OSError, ValueError):
        return ""


def read_index(path: Path) -> VideoIndex | None:
    """The frames of a video without decoding any; None where their times are missing or unreadable."""
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            ticks = [packet.pts for packet in packets if not packet.is_discard]
            tick_s, num_announced, duration_us = stream.time_base, stream.frames, container.duration
            is_damaged = any(packet.is_corrupt for packet in packets)
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return None
    if not ticks or tick_s is None or None in ticks:
        return None
    stamps_ns = _nanoseconds(np.sort(np.array(ticks, np.int64)), tick_s)
    is_whole = not is_damaged and (num_announced == len(packets) or _lasts(stamps_ns, duration_us))
    return VideoIndex(stamps_ns, num_announced, is_whole)


def holds_video(path: Path) -> bool:
    """Whether the first frame of a file can be decoded, whatever its name is."""
    return bool(_frames_all_over(path, places=1))


def check_frames(path: Path) -> None:
    """Refuse a video whose frames OpenCV silently stretches or garbles, by frames at places all over it.

    Raises SourceError where the size changes, or frames are interlaced.
    """
    frames = _frames_all_over(path)
    if any(frame.interlaced_frame for frame in frames):
        raise SourceError(
            f"the video {path} is interlaced, two moments in each frame: make it progressive, as by "
            f"'ffmpeg -i {path.name} -vf bwdif new.mp4'"
        )
    sizes = {f"{frame.width}x{frame.height}": None for frame in frames}
    if len(sizes) > 1:
        raise SourceError(f"the frames of {path} change their size ({', '.join(sizes)}): cut the video where they do")


def _frames_all_over(path: Path, places: int = _PLACES) -> list[av.VideoFrame]:
    """The first frame, and some from later on; fewer where they cannot be decoded."""
    frames: list[av.VideoFrame] = []
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            frames.extend(islice(container.decode(video=0), 1))
            begin, length = container.start_time or 0, container.duration or 0
            for place in range(1, places) if length else ():
                container.seek(begin + length * place // places)
                frames.extend(islice(container.decode(video=0), 1))
    except (av.FFmpegError, OSError, ValueError, IndexError):
        pass
    return frames


def why_unreadable(path: Path) -> str:
    """Why OpenCV may not open a video, with what to do."""
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            videos, sounds = (
                sorted({stream.codec.canonical_name for stream in streams if stream.codec_context is not None})
                for streams in (container.streams.video, container.streams.audio)
            )
    except (av.FFmpegError, OSError, ValueError):
        return "it is truncated, or no video"
    if videos:
        return f"OpenCV lacks its codec, {' and '.join(videos)}: convert it, as by 'ffmpeg -i {path.name} new.mp4'"
    return f"it holds no images, only {'sound (' + ' and '.join(sounds) + ')' if sounds else 'other data'}"


def why_undecodable(path: Path) -> str:
    """Why OpenCV may open a video, but not decode its first frame."""
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            next(container.decode(video=0))
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration):
        return "it is truncated, or holds no frame that can be decoded"
    return why_unreadable(path)  # PyAV has a decoder for it


def _lasts(stamps_ns: NDArray[np.int64], duration_us: int | None) -> bool:
    """Whether the frames reach the end that the container states, to about an interval between frames."""
    if duration_us is None or len(stamps_ns) < 2:
        return True
    longest_ns = int(np.diff(stamps_ns).max())
    return bool(duration_us * 1000 - stamps_ns[-1] <= 2 * longest_ns + _SLACK_NS)


def _first(metadata: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((metadata[key] for key in keys if key in metadata), "")[:_LONGEST].replace("\0", " ")


def _nanoseconds(ticks: NDArray[np.int64], tick_s: Fraction) -> NDArray[np.int64]:
    """Exact to a nanosecond, however long the video is."""
    since = (ticks - ticks[0]).astype(object)
    return np.array([round(int(tick) * tick_s * NANOSECONDS) for tick in since], np.int64)
