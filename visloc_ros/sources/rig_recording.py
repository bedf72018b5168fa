"""The recordings of the cameras of a rig as one: frames of one time come together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from heapq import merge
from itertools import repeat
from pathlib import Path

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import exists
from visloc_ros.core.rig import Rig
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources.base import FrameSource, RecalibratedSource, SourceConfig
from visloc_ros.sources.opening import is_bag, open_source
from visloc_ros.sources.rig_files import read_rig_file
from visloc_ros.sources.video import VIDEO_SUFFIXES

_log = logging.getLogger(__name__)

_TOGETHER_NS = 5_000_000  # frames that are no farther apart are of one time


class RigRecording:
    """Recordings by the name of their camera; their stamps are of one clock."""

    def __init__(self, name: str, rig: Rig, sources: Mapping[str, FrameSource]) -> None:
        """Raises CalibrationError for a camera without intrinsics, or one that the rig does not have."""
        self.name, self.rig = name, rig
        self.sources = {camera: _calibrated(camera, source, rig) for camera, source in sources.items()}

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
    """The source with the intrinsics of the rig's file, where it has some."""
    rig.rig_from_camera(name)
    camera = rig.cameras[name].camera
    if camera is not None:
        return RecalibratedSource(source, CameraCalibration(camera, CalibrationSource.GIVEN))
    if not source.calibrated:
        raise CalibrationError(f"the intrinsics of '{name}' are not known: add 'camera' to it in the rig's file")
    return source
