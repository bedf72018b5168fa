"""Sources by their place, so that every worker can open them, and what tells one state of their files from another."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_folder
from visloc_ros.core.types import Frame
from visloc_ros.execution.content_key import content_key
from visloc_ros.mapping.map_sources import CameraGroups, MapSource
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.beside import beside_poses, files_beside
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.pose_files import read_poses
from visloc_ros.sources.video import VideoSource


class FrameKey(NamedTuple):
    """What tells a frame of a source from all others of it."""

    stamp_ns: int
    name: str


@dataclass(frozen=True)
class Recording:
    """A video, image folder or bag by its place, its options, and the file of its reference poses, if any."""

    path: Path
    config: SourceConfig = field(default_factory=SourceConfig)
    reference_poses: Path | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values with which another process opens the same source."""
        poses = None if self.reference_poses is None else str(self.reference_poses.absolute())
        config = self.config.to_mapping()
        if self.config.camera:
            config["camera"] = str(self._camera.absolute())
        return {"path": str(self.path.absolute()), "config": config, "reference_poses": poses}

    @staticmethod
    def from_mapping(values: Mapping[str, Any]) -> Recording:
        """The recording of ``to_mapping``."""
        poses = values["reference_poses"]
        config = SourceConfig.from_mapping(values["config"])
        return Recording(Path(values["path"]), config, None if poses is None else Path(poses))

    def fingerprint(self) -> str:
        """A hash of all that the frames come from, but not of where it lies: options, names, contents of files.

        To these belong what links lead to, and what a source finds beside itself. Raises SourceError.
        """
        name = self.path.resolve().name if is_folder(self.path) else self.path.name
        options = {**self.config.to_mapping(), "camera": ""}
        places = [[self.path], files_beside(self.path), [self._camera] if self.config.camera else []]
        if self.reference_poses is not None:
            places += [[self.reference_poses], beside_poses(self.reference_poses)]
        contents = [[(place.name, content_key(place)) for place in group] for group in places]
        return hashlib.sha256(json.dumps([name, options, contents], sort_keys=True).encode()).hexdigest()

    @property
    def _camera(self) -> Path:
        return Path(self.config.camera).expanduser()


def open_recording(recording: Recording, fingerprint: str) -> MapSource:
    """Open a source, once in a process. Raises as ``open_source`` does, and as ``check_unchanged``."""
    check_unchanged(recording, fingerprint)
    return _opened(recording, fingerprint)


def check_unchanged(recording: Recording, fingerprint: str) -> None:
    """Raise SourceError if a recording has another fingerprint here than where, or when, the work with it began."""
    if recording.fingerprint() != fingerprint:
        raise SourceError(
            f"{recording.path} on {platform.node()} is not what it was when the work began, or not the same as on the "
            "computer that began it: see that all computers have the same files, then run the command again"
        )


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
