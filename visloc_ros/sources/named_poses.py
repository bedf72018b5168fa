"""Known camera poses by image name, as COLMAP models and kapture data sets give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from visloc_ros.core.geometry import SE3


@dataclass(frozen=True, eq=False)
class NamedPoses:
    """Poses ``parent_from_camera`` by image name.

    A name is looked up as it is; where that fails, by the file name alone, if only one image has it: the same
    images are often named relative to different folders.
    """

    poses: Mapping[str, SE3]

    def __len__(self) -> int:
        return len(self.poses)

    def find(self, name: str) -> SE3 | None:
        """Pose of an image, or None where it is not known or its name fits several."""
        return self.poses.get(name) or self._by_file_name.get(PurePosixPath(name).name)

    @cached_property
    def _by_file_name(self) -> Mapping[str, SE3]:
        counts = Counter(PurePosixPath(name).name for name in self.poses)
        files = {name: PurePosixPath(name).name for name in self.poses}
        return {files[name]: pose for name, pose in self.poses.items() if counts[files[name]] == 1}
