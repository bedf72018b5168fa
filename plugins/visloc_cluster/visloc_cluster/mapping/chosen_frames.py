"""Frames of a recording that a build has chosen, as every worker opens them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from visloc_ros.core.types import Frame
from visloc_ros.mapping.map_sources import CameraGroups, MapSource
from visloc_ros.mapping.recordings import Recording, check_unchanged
from visloc_ros.sources import FrameSource, open_source
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.pose_files import read_poses
from visloc_ros.sources.video import VideoSource


class FrameKey(NamedTuple):
    """What tells a frame of a source from all others of it."""

    stamp_ns: int
    name: str


def open_recording(recording: Recording, fingerprint: str) -> MapSource:
    """Open a source, once in a process. Raises as ``open_source`` does, and as ``check_unchanged``."""
    check_unchanged(recording, fingerprint)
    return _opened(recording, fingerprint)


@lru_cache(maxsize=8)
def _opened(recording: Recording, _: str) -> MapSource:
    source = open_source(recording.path, recording.config)
    poses = None if recording.reference_poses is None else read_poses(recording.reference_poses)
    return MapSource(source.name, source, poses, CameraGroups(source.calibrated))


class ChosenFrames:
    """The frames of a source that have one of these keys; of a folder or video, little else is read.

    ``found`` counts those that the last iteration gave.
    """

    def __init__(self, source: FrameSource, keys: Collection[FrameKey]) -> None:
        self.name = source.name
        self.calibration = source.calibration
        self.ground_truth = source.ground_truth
        self.found = 0
        self._keys = frozenset(keys)
        self._last_ns = max((key.stamp_ns for key in keys), default=-1)
        self._source = source
        if isinstance(source, FolderSource | VideoSource):
            self._source = source.with_names({key.name for key in keys})

    @property
    def camera(self) -> Any:
        """Camera of the source's first frame."""
        return self.calibration.camera

    @property
    def calibrated(self) -> bool:
        """Whether the intrinsics are known."""
        return self._source.calibrated

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Frame]:
        self.found = 0
        for frame in self._source:
            if frame.stamp_ns > self._last_ns:
                return
            if FrameKey(frame.stamp_ns, frame.name) in self._keys:
                self.found += 1
                yield frame
