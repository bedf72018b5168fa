"""Frames from a video file through OpenCV, stamped by its presentation times."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from visloc_ros.core.calibration import CameraCalibration, guess_calibration
from visloc_ros.core.camera import check_image_size, turn_upright
from visloc_ros.core.errors import SourceError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, Image
from visloc_ros.sources.base import NOMINAL_RATE_HZ, OneCamera, SourceConfig
from visloc_ros.sources.layouts import stamps_at_rate
from visloc_ros.sources.rectification import checked
from visloc_ros.sources.video_file import check_frames, read_index, read_maker, why_undecodable, why_unreadable

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".3gp", ".flv",
)  # fmt: skip
_NS_PER_MS = 1_000_000
_LEADS = (30, 300)  # frames before a wanted one, to which OpenCV may go


class VideoSource(OneCamera):
    """Frames of a video, upright as its rotation metadata asks; without a calibration its camera is guessed.

    Frames have square pixels, as players show them: those of another shape are stretched in width. A calibration is of
    the frames as they are shown, or as they are stored: it is then turned with them, and their pixels stay as they are.
    ``camera_maker`` is empty where the file does not state it.

    Stamps start near zero. ``len`` is the number of frames that the container's index shows, else that it announces; a
    video that ends earlier is reported by a warning and in ``skipped``. Raises SourceError when nothing can be decoded,
    where frames are interlaced, and where their size changes.
    """

    ground_truth = None

    def __init__(self, path: Path, config: SourceConfig) -> None:
        self.name = path.stem
        self.skipped = 0
        self._path = path
        self._config = config
        capture = _open(path)
        announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._rate_hz = config.rate_hz or _frame_rate(capture)
        self.clockwise_turns = round(capture.get(cv2.CAP_PROP_ORIENTATION_META) / 90.0) % 4
        done, first = capture.read()
        self._aspect = _pixel_aspect(capture)
        capture.release()
        if not done:
            raise SourceError(f"cannot decode the video {path}: {why_undecodable(path)}")
        check_frames(path)
        self._index = read_index(path)
        self._count = self._count_frames(announced)
        self.camera_maker = read_maker(path)
        self._selected = config.select(self._count, self._announced_stamps_ns)
        stored = first.shape[1], first.shape[0]
        given = config.read_calibration()
        if given is not None and stored in (_size(given), _size(given)[::-1]):
            self._aspect = 1.0
        self._shown_size = _stretched(*stored, self._aspect, self.clockwise_turns)
        self.calibration = self._fit_calibration(given, *self._shown_size)
        check_image_size(self.camera, *self._shown_size)

    def __len__(self) -> int:
        return len(self._selected)

    def __iter__(self) -> Iterator[Frame]:
        return checked(self._read_frames())

    def _read_frames(self) -> Iterator[Frame]:
        read = 0
        for index, stamp_ns, image in self._read_selected():
            read += 1
            yield Frame(stamp_ns, image, self.camera, _name(index), self.calibration)
        self.skipped = len(self) - read
        if read == 0:
            raise SourceError(f"the video {self._path} ends before its frame {self._selected[0]}")
        if self.skipped:
            logger.warning("%s ends after %d of %d frames: it may be truncated", self._path, read, len(self))

    def _fit_calibration(self, given: CameraCalibration | None, width: int, height: int) -> CameraCalibration:
        """The calibration given, or a guess, of frames that are shown with this size. Raises CalibrationError."""
        if given is None:
            return guess_calibration(width, height)
        stored = (height, width) if self.clockwise_turns % 2 else (width, height)
        return replace(given, camera=turn_upright(given.camera, *stored, self.clockwise_turns))

    def _count_frames(self, announced: int) -> int:
        """Frames by the index where it is whole; OpenCV's number is often duration times rate, and ignores edit lists.

        Streams and cut recordings state no length, or a wrong one: then it is known only after one pass.
        """
        index = self._index
        if index is None:
            return announced if announced > 0 else _count_frames(self._path)
        if index.is_whole or not index.num_announced:
            if not index.is_whole:
                logger.warning("%s ends before the duration that it states: it may be truncated", self._path)
            return len(index.stamps_ns)
        return index.num_announced

    def read_stamps_ns(self) -> Sequence[int]:
        """Stamps of the frames selected by the index, else at the stated rate."""
        stamps_ns = self._announced_stamps_ns()
        return [stamps_ns[index] for index in self._selected]

    def _announced_stamps_ns(self) -> Sequence[int]:
        """Stamps of all frames without decoding any: by the index, else at the stated rate."""
        if not self._config.rate_hz and self._index is not None and len(self._index.stamps_ns) == self._count:
            return [int(stamp_ns) for stamp_ns in self._index.stamps_ns]
        return stamps_at_rate(range(self._count), self._rate_hz)

    def with_names(self, names: Collection[str]) -> VideoSource:
        """The same video with no other frames than those of these names; it begins to read just before them."""
        part = copy(self)
        part._selected = [index for index in self._selected if _name(index) in names]
        return part

    def _read_selected(self) -> Iterator[tuple[int, int, Image]]:
        capture, begin = self._open_before(self._selected[0])
        selected = set(self._selected)
        try:
            previous_ns = -1
            for index in range(begin, self._selected[-1] + 1):
                if not capture.grab():
                    return
                stamp_ns = self._stamp(capture, index, previous_ns)
                previous_ns = stamp_ns
                if index in selected:
                    yield index, stamp_ns, self._shown(_retrieve(capture))
        finally:
            capture.release()

    def _open_before(self, wanted: int) -> tuple[cv2.VideoCapture, int]:
        """The video, opened shortly before a frame where its index knows the frame that OpenCV went to; and the next.

        OpenCV goes to a frame by the mean rate, so that it misses it in videos of phones.
        """
        capture = _open(self._path)
        index = self._index
        if self._config.rate_hz or index is None or not index.is_whole:
            return capture, 0
        for lead in _LEADS:
            if wanted <= lead:
                break
            capture.set(cv2.CAP_PROP_POS_FRAMES, wanted - lead)
            stamp_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS) if capture.grab() else -1
            reached = int(np.argmin(np.abs(index.stamps_ns - stamp_ns)))
            if reached < wanted and abs(int(index.stamps_ns[reached]) - stamp_ns) < _NS_PER_MS:
                return capture, reached + 1
        capture.release()
        return _open(self._path), 0

    def _shown(self, image: Image) -> Image:
        if (image.shape[1], image.shape[0]) == self._shown_size or self._aspect == 1.0:
            return image
        return np.asarray(cv2.resize(image, self._shown_size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def _stamp(self, capture: cv2.VideoCapture, index: int, previous_ns: int) -> int:
        """Presentation time of the frame just grabbed, or one period after the last where the video has none."""
        if self._config.rate_hz:
            return round(index * NANOSECONDS / self._rate_hz)
        presentation_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * _NS_PER_MS)
        if presentation_ns > previous_ns:
            return presentation_ns
        return previous_ns + round(NANOSECONDS / self._rate_hz)


def _name(index: int) -> str:
    return f"frame-{index:06d}"


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path.absolute()))  # 'name:1.mp4' alone has a protocol for FFmpeg
    if not capture.isOpened():
        raise SourceError(f"cannot open the video {path}: {why_unreadable(path)}")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _frame_rate(capture: cv2.VideoCapture) -> float:
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return rate if np.isfinite(rate) and 0 < rate <= 1000 else NOMINAL_RATE_HZ


def _pixel_aspect(capture: cv2.VideoCapture) -> float:
    """Width of a pixel as share of its height (sample aspect ratio); 1 where the video does not state it."""
    width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    return width / height if width > 0 and height > 0 else 1.0


def _stretched(width: int, height: int, aspect: float, clockwise_turns: int) -> tuple[int, int]:
    """Size of upright frames with square pixels; a quarter turn puts the width of stored pixels along the height."""
    return (width, round(height * aspect)) if clockwise_turns % 2 else (round(width * aspect), height)


def _size(calibration: CameraCalibration) -> tuple[int, int]:
    return calibration.camera.width, calibration.camera.height


def _count_frames(path: Path) -> int:
    capture = _open(path)
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _retrieve(capture: cv2.VideoCapture) -> Image:
    _, image = capture.retrieve()
    if image.ndim == 2:
        return np.asarray(image, dtype=np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
