"""Known camera poses by image name, as COLMAP models and kapture data sets give them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PureWindowsPath

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame


@dataclass(frozen=True, eq=False)
class NamedPoses:
    """Poses ``parent_from_camera`` by image name, and the images' sizes (width, height) where they are known.

    A name is looked up below the folder of its images, then as it is; where both fail, by the file name alone, if only
    one image has it: the same images are often named relative to different folders. Windows separates folders by
    another character, and macOS spells letters with accents in two: they are the same names.

    COLMAP, hloc and kapture read photos as they are stored, whatever their EXIF orientation; the poses are of such
    images, unless they ``are_upright`` or their sizes show it.
    """

    poses: Mapping[str, SE3]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    are_upright: bool = False

    def __len__(self) -> int:
        return len(self.poses)

    def find(self, name: str, folder: str = "") -> SE3 | None:
        """Pose of an image of a folder, or None where it is not known or its name fits several."""
        key = self._key(name, folder)
        return None if key is None else self.poses[key]

    def find_shown(self, frame: Frame, name: str, folder: str = "") -> SE3 | None:
        """Pose of a frame of this name as it is shown, turned upright or not. Raises SourceError for a mirrored one."""
        key = self._key(name, folder)
        if key is None or self.are_upright or self._is_upright(key, frame):
            return None if key is None else self.poses[key]
        if frame.is_mirrored:
            raise SourceError(
                f"the photo {name} is stored mirrored, as its known pose sees it and no camera does: write the photo "
                "upright, and reconstruct it again"
            )
        stored_from_shown = SE3.from_rotation_vector([0.0, 0.0, -0.5 * np.pi * frame.clockwise_turns], np.zeros(3))
        return self.poses[key] @ stored_from_shown

    def find_all(self, sizes: Mapping[str, tuple[int, int]]) -> dict[str, SE3]:
        """Poses of images by their names and sizes; by the file name alone only where one of the images has it.

        Those of portrait images that are known as landscape images, or the other way round, are left out.
        """
        counts = Counter(_file_name(name) for name in sizes)
        asked = (name for name in sizes if name in self.poses or counts[_file_name(name)] == 1)
        keys = {name: self._key(name) for name in asked}
        return {
            name: self.poses[key]
            for name, key in keys.items()
            if key is not None and not _are_turned(self.sizes.get(key), sizes[name])
        }

    def _key(self, name: str, folder: str = "") -> str | None:
        known = (one for one in (f"{folder}/{name}", name) if one in self.poses)
        return next(known, self._by_file_name.get(_file_name(name)))

    def _is_upright(self, key: str, frame: Frame) -> bool:
        """Whether the pose is of the frame's image as it is shown."""
        if not frame.clockwise_turns and not frame.is_mirrored:
            return True
        size = self.sizes.get(key)
        shown = frame.camera.width, frame.camera.height
        return size is not None and frame.clockwise_turns % 2 == 1 and not _are_turned(size, shown)

    @cached_property
    def _by_file_name(self) -> Mapping[str, str]:
        files = {name: _file_name(name) for name in self.poses}
        counts = Counter(files.values())
        return {file: name for name, file in files.items() if counts[file] == 1}


def _are_turned(one: tuple[int, int] | None, other: tuple[int, int]) -> bool:
    """Whether one of two sizes is of a landscape image, and the other of a portrait one."""
    return one is not None and (one[0] - one[1]) * (other[0] - other[1]) < 0


def _file_name(name: str) -> str:
    return unicodedata.normalize("NFC", PureWindowsPath(name).name)
