"""Known camera poses by image name, as COLMAP models and kapture data sets give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from visloc_ros.core.geometry import SE3


@dataclass(frozen=True, eq=False)
class NamedPoses:
    """Poses ``parent_from_camera`` by image name.

    A name is looked up below the folder of its images, then as it is; where both fail, by the file name alone, if only
    one image has it: the same images are often named relative to different folders.
    """

    poses: Mapping[str, SE3]

    def __len__(self) -> int:
        return len(self.poses)

    def find(self, name: str, folder: str = "") -> SE3 | None:
        """Pose of an image of a folder, or None where it is not known or its name fits several."""
        named = (self.poses.get(one) for one in (f"{folder}/{name}", name))
        return next((pose for pose in named if pose is not None), self._by_file_name.get(PurePosixPath(name).name))

    def find_all(self, names: Iterable[str]) -> dict[str, SE3]:
        """Poses of images by their names; by the file name alone only where one of the images has it."""
        asked = list(names)
        counts = Counter(PurePosixPath(name).name for name in asked)
        found = {name: self.find(name) for name in asked if name in self.poses or counts[PurePosixPath(name).name] == 1}
        return {name: pose for name, pose in found.items() if pose is not None}

    @cached_property
    def _by_file_name(self) -> Mapping[str, SE3]:
        counts = Counter(PurePosixPath(name).name for name in self.poses)
        files = {name: PurePosixPath(name).name for name in self.poses}
        return {files[name]: pose for name, pose in self.poses.items() if counts[files[name]] == 1}
