"""The interface of every source of frames, the options to choose frames, and sources with a corrected calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import pycolmap

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.config import Config, option
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources.camera_files import read_given_calibration

NOMINAL_RATE_HZ = 30.0
BAG_METADATA = "metadata.yaml"
BAG_SUFFIXES = (".mcap", ".db3")
PACKED_SUFFIXES = (".zstd", ".zst")


def bag_stem(path: Path) -> str:
    """Name of a bag's storage file without its suffixes, as 'drive_0' of drive_0.mcap.zstd; empty for another file."""
    name = path.name.removesuffix(path.suffix) if path.suffix in PACKED_SUFFIXES else path.name
    return Path(name).stem if Path(name).suffix in BAG_SUFFIXES else ""


@dataclass(frozen=True)
class SourceConfig(Config):
    """The frames of a source to read, and data that the source lacks."""

    image_topic: str = option("", "image topic of a bag; empty finds the only one by its type")
    camera_info_topic: str = option("", "CameraInfo topic of a bag; empty finds the one beside the image topic")
    ground_truth_topic: str = option(
        "", "topic of a bag with true poses, or transforms such as /tf; empty finds one of poses by its name"
    )
    odometry_topic: str = option(
        "", "wheel odometry topic of a bag (nav_msgs/Odometry), which gives a map its scale; empty uses none"
    )
    imu_topic: str = option("", "IMU topic of a bag, which gives a map its up; empty uses none")
    camera_from_imu: str = option(
        "", "rotation from the IMU's axes to the camera's as quaternion 'w x y z'; empty takes it from /tf_static"
    )
    camera: str = option("", "camera calibration file (COLMAP, ROS, Kalibr and more); empty takes the source's own")
    rectified: bool = option(
        False, "images of a bag are rectified, whatever their topic is named: their camera is P of CameraInfo"
    )
    first: int = option(0, "index of the first image read", minimum=0)
    last: int = option(-1, "index of the last image read, itself included; -1 reads to the end", minimum=-1)
    every: int = option(1, "step between the images read: 10 reads every tenth", minimum=1)
    fps: float = option(0.0, "images read per second of the recording; 0 reads all", minimum=0.0)
    max_frames: int = option(0, "most images read of those that the other options leave; 0 reads all", minimum=0)
    rate_hz: float = option(0.0, "images per second where they carry no stamps; 0 takes the source's rate", minimum=0.0)

    def select(self, count: int, read_stamps_ns: Callable[[], Sequence[int]]) -> Sequence[int]:
        """Indices in order of the images read out of ``count``, whose stamps are only used where they matter.

        Raises SourceError when none is left, ConfigError when two options ask for different steps.
        """
        if self.fps and self.every > 1:
            raise ConfigError(f"every={self.every} and fps={self.fps:g} both say which images are read: give one")
        stop = count if self.last < 0 else min(self.last + 1, count)
        selected = range(self.first, stop, self.every)
        if not selected:
            last = "the end" if self.last < 0 else self.last
            raise SourceError(f"first={self.first} to last={last} selects none of the {count} images")
        chosen = _first_of_each_period(selected, read_stamps_ns(), self.fps) if self.fps else selected
        return chosen[: self.max_frames] if self.max_frames else chosen

    def read_calibration(self) -> CameraCalibration | None:
        """Camera of the calibration file, or None where none is named. Raises CalibrationError."""
        return read_given_calibration(self.camera)


def _first_of_each_period(selected: Sequence[int], stamps_ns: Sequence[int], fps: float) -> list[int]:
    """The first index in each period of 1 / fps; stamps are rounded, so one may be early by a hundredth of it."""
    chosen, previous = [], None
    for index in selected:
        period = int((stamps_ns[index] - stamps_ns[selected[0]]) * fps / NANOSECONDS + 0.01)
        if period != previous:
            chosen.append(index)
        previous = period
    return chosen


class FrameSource(Protocol):
    """Frames in order of time, read again at every iteration.

    ``calibration`` is that of the first frame; photos of a folder may have others, given by ``Frame.calibration``.
    ``ground_truth`` holds the true poses ``world_from_camera`` where the source has them. ``len`` is the number of
    images selected.
    """

    name: str
    calibration: CameraCalibration

    @property
    def camera(self) -> pycolmap.Camera:
        """Camera of the first frame."""

    @property
    def calibrated(self) -> bool:
        """Whether the intrinsics are known, not guessed."""

    @property
    def ground_truth(self) -> Trajectory | None:
        """True poses ``world_from_camera``, or None."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Frame]: ...


class OneCamera:
    """What a source of images of one camera says of it, by its ``calibration``."""

    calibration: CameraCalibration

    @property
    def camera(self) -> pycolmap.Camera:
        """The camera of all frames."""
        return self.calibration.camera

    @property
    def calibrated(self) -> bool:
        """Whether the intrinsics are known, not guessed."""
        return not self.calibration.is_provisional


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """One image as its file or message holds it: 'jpeg' or 'png' bytes, not decoded yet."""

    stamp_ns: int
    data: bytes
    format: str
    camera: pycolmap.Camera
    name: str = ""
    calibration: CameraCalibration | None = None


@runtime_checkable
class SourceOfTopics(Protocol):
    """A source that may hold more topics with poses."""

    def read_ground_truth(self, topic: str) -> Trajectory:
        """True poses ``world_from_camera`` of a topic. Raises SourceError where it has none."""


@runtime_checkable
class EncodedSource(Protocol):
    """A source that can also hand out its images encoded, to be copied without loss."""

    def iter_encoded(self) -> Iterator[EncodedFrame]:
        """Walk over the same images as iteration does, undecoded."""


@runtime_checkable
class StampedSource(Protocol):
    """A source that knows the stamps of its images without reading them."""

    def read_stamps_ns(self) -> Sequence[int]:
        """Stamps of the images selected, in nanoseconds."""


class ShiftedSource:
    """The frames of a source with stamps of another clock; those before it began, at zero, are left out."""

    def __init__(self, source: FrameSource, shift_s: float) -> None:
        self.name, self.calibration = source.name, source.calibration
        self._source, self._shift_ns = source, round(shift_s * NANOSECONDS)

    @property
    def camera(self) -> pycolmap.Camera:
        """Camera of the first frame."""
        return self._source.camera

    @property
    def calibrated(self) -> bool:
        """Whether the intrinsics are known, not guessed."""
        return self._source.calibrated

    @property
    def ground_truth(self) -> Trajectory | None:
        """True poses ``world_from_camera`` by the other clock, or None."""
        truth = self._source.ground_truth
        return None if truth is None else replace(truth, stamps_ns=truth.stamps_ns + self._shift_ns)

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            if frame.stamp_ns + self._shift_ns >= 0:
                yield replace(frame, stamp_ns=frame.stamp_ns + self._shift_ns)


class RecalibratedSource(OneCamera):
    """The frames of a source with another calibration; photos of its other cameras stay as they are."""

    def __init__(self, source: FrameSource, calibration: CameraCalibration) -> None:
        self.name = source.name
        self.calibration = calibration
        self._source = source

    @property
    def ground_truth(self) -> Trajectory | None:
        """True poses ``world_from_camera``, or None."""
        return self._source.ground_truth

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        replaced = self._source.calibration
        for frame in self._source:
            yield frame.with_calibration(self.calibration) if frame.calibration is replaced else frame
