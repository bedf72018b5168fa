"""Sources by their place, so that every worker can open them, and what tells one state of their files from another."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_folder
from visloc_ros.execution.content_key import content_key
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.beside import beside_poses, files_beside


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


def check_unchanged(recording: Recording, fingerprint: str) -> None:
    """Raise SourceError if a recording has another fingerprint here than where, or when, the work with it began."""
    if recording.fingerprint() != fingerprint:
        raise SourceError(
            f"{recording.path} on {platform.node()} is not what it was when the work began, or not the same as on the "
            "computer that began it: see that all computers have the same files, then run the command again"
        )
