"""The recordings of the cameras of a rig as one: frames of one time come together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pycolmap

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import camera_from_params, check_image_of_calibration
from visloc_ros.core.clock import CLOCK_JUMP_NS
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import exists
from visloc_ros.core.rig import Rig
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources.base import FrameSource, RecalibratedSource, ShiftedSource, SourceConfig, StampedSource
from visloc_ros.sources.camera_files import TIME_SHIFT
from visloc_ros.sources.opening import is_bag, open_source
from visloc_ros.sources.rig_files import read_rig_file
from visloc_ros.sources.video import VIDEO_SUFFIXES

_log = logging.getLogger(__name__)

_TOGETHER_NS = 5_000_000  # frames that are no farther apart are of one time
_LONGEST_PAUSE_NS = 24 * 3600 * NANOSECONDS  # in a recording; a longer one is a jump of the clock


class RigRecording:
    """Recordings by the name of their camera; their stamps, with the shifts of the rig, are of one clock."""

    def __init__(self, name: str, rig: Rig, sources: Mapping[str, FrameSource]) -> None:
        """Raises CalibrationError for a camera without intrinsics, or one that the rig does not have.

        SourceError where cameras share no time.
        """
        check_common_time({name: stamps for name, one in sources.items() if (stamps := _stamps_ns(name, one, rig))})
        self.name, self.rig = name, rig
        self.sources: dict[str, FrameSource] = {}
        for camera, source in sources.items():
            calibrated = self.sources[camera] = _calibrated(camera, source, rig)
            if rig.cameras[camera].camera is not None:
                self.rig = self.rig.with_camera(camera, calibrated.camera)

    def __len__(self) -> int:
        """About the number of times that there are frames of: that of the camera with the most."""
        return max(len(source) for source in self.sources.values())

    def __iter__(self) -> Iterator[dict[str, Frame]]:
        """Frames by camera, those within 5 ms of the first one together, in order of time."""
        streams = [zip(repeat(name), source, strict=False) for name, source in self.sources.items()]
        together: dict[str, Frame] = {}
        begin_ns = 0
        for name, frame in merge(*streams, key=lambda item: item[1].stamp_ns):
            if together and (name in together or frame.stamp_ns - begin_ns > _TOGETHER_NS):
                yield together
                together = {}
            if not together:
                begin_ns = frame.stamp_ns
            together[name] = frame
        if together:
            yield together

    @property
    def ground_truth(self) -> Trajectory | None:
        """True ``map_from_rig``, by the first camera of the rig whose source has true poses; None without any."""
        for name in self.rig.names:
            truth = self.sources[name].ground_truth if name in self.sources else None
            if truth is not None:
                camera_from_rig = self.rig.rig_from_camera(name).inverse
                return replace(truth, poses=tuple(pose @ camera_from_rig for pose in truth.poses))
        return None


def open_rig_recording(path: Path, rig_file: Path, config: SourceConfig) -> RigRecording:
    """Open a bag, or a folder with the recording of each camera, a folder or a video of its name.

    Places that the rig's file does not say are those of the bag's ``/tf_static``. A camera without a recording is left
    out, with a warning. Raises SourceError where there is none at all.
    """
    if exists(path) and is_bag(path):
        from visloc_ros.sources.rig_bag import open_rig_bag

        return open_rig_bag(path, rig_file, config)
    return _open_folder(path, read_rig_file(rig_file), config)


def _open_folder(folder: Path, rig: Rig, config: SourceConfig) -> RigRecording:
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is no bag and no folder: with a rig, give one with a folder or video for each camera"
        )
    found = {name: path for name in rig.names if (path := _find(folder, name)) is not None}
    missing = [name for name in rig.names if name not in found]
    if not found:
        raise SourceError(f"{folder} holds no recording of {', '.join(missing)}: name a folder or video by each camera")
    if missing:
        _log.warning("%s holds no recording of %s: the rig goes on without", folder, ", ".join(missing))
    sources = {name: open_source(path, config) for name, path in found.items()}
    return RigRecording(folder.name, rig, sources)


def _find(folder: Path, name: str) -> Path | None:
    paths = [folder / name, *(folder / f"{name}{suffix}" for suffix in VIDEO_SUFFIXES)]
    return next((path for path in paths if path.exists()), None)


def _calibrated(name: str, source: FrameSource, rig: Rig) -> FrameSource:
    """The source with the intrinsics of the rig's file, where it has some, and stamps of the rig's clock."""
    rig.rig_from_camera(name)
    camera, shift_s = rig.cameras[name].camera, rig.cameras[name].time_shift_s
    if camera is not None:
        if not camera.width:
            camera = _of_size(name, camera, source.camera.width, source.camera.height)
        source = RecalibratedSource(source, CameraCalibration(camera, CalibrationSource.GIVEN))
    elif not source.calibrated:
        raise CalibrationError(f"the intrinsics of '{name}' are not known: add 'camera' to it in the rig's file")
    return ShiftedSource(source, shift_s) if shift_s else source


def _of_size(name: str, camera: pycolmap.Camera, width: int, height: int) -> pycolmap.Camera:
    """Intrinsics without a size as those of images of one."""
    try:
        sized = camera_from_params(camera.model.name, width, height, camera.params.tolist())
        check_image_of_calibration(sized)
    except CalibrationError as error:
        raise CalibrationError(f"camera '{name}': {error}") from error
    return sized


def _stamps_ns(name: str, source: FrameSource, rig: Rig) -> list[int]:
    """Stamps of a camera by the rig's clock; empty where they are only known by reading all images."""
    if not isinstance(source, StampedSource) or name not in rig.cameras:
        return []
    shift_ns = round(rig.cameras[name].time_shift_s * NANOSECONDS)
    return [stamp_ns + shift_ns for stamp_ns in source.read_stamps_ns()]


def check_common_time(stamps_ns: Mapping[str, Sequence[int]]) -> None:
    """Raise SourceError where stamps of a camera, of all or of those before or after a jump, meet none of another."""
    if len(stamps_ns) < 2:
        return
    groups: list[list[_Span]] = []
    for span in sorted(span for name, stamps in stamps_ns.items() for span in _spans(name, stamps)):
        if groups and span.first_ns <= max(one.last_ns for one in groups[-1]) + CLOCK_JUMP_NS:
            groups[-1].append(span)
        else:
            groups.append([span])
    if any(len({span.name for span in group}) == 1 for group in groups):
        said = "; ".join(str(span) for group in groups for span in group)
        raise SourceError(
            f"cameras share no time: {said}. Give their stamps one clock, or write the seconds that those of a camera "
            f"lack as its {TIME_SHIFT} into the rig's file"
        )


class _Span(NamedTuple):
    """Images of a camera without a long pause."""

    first_ns: int
    last_ns: int
    name: str

    def __str__(self) -> str:
        return f"'{self.name}' has images from {_in_words(self.first_ns)} to {_in_words(self.last_ns)}"


def _spans(name: str, stamps_ns: Sequence[int]) -> list[_Span]:
    ordered = np.sort(np.asarray(stamps_ns, dtype=np.int64))
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) > _LONGEST_PAUSE_NS) + 1)
    return [_Span(int(part[0]), int(part[-1]), name) for part in parts]


def _in_words(stamp_ns: int) -> str:
    date = np.datetime64(stamp_ns // NANOSECONDS, "s")
    return f"{stamp_ns / NANOSECONDS:.3f} s ({str(date).replace('T', ' ')})"
