"""Which data sets lie below a folder: those with a protocol, and sequences of EuRoC, KITTI and TUM RGB-D.

A data set is recognised by paths in its folder as it is unpacked. A sequence of 7-Scenes without the split of its scene
is an excerpt, as is a sequence with fewer images than the files that came with it count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from visloc_field.data_sets import DATA_SETS
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder, read_text
from visloc_ros.sources.layouts import list_images

SEQUENCES = {"euroc": "EuRoC MAV", "kitti": "KITTI odometry", "tum": "TUM RGB-D"}
"""Titles of the data sets of sequences, by name."""
_DEPTH = 5  # machine_hall/MH_01_easy and dataset/sequences/00 lie below a folder of several data sets
_KITTI_IMAGES = ("image_0", "image_2", "image_left")


@dataclass(frozen=True)
class FoundData:
    """A data set by its name, or one sequence, and its folder; ``is_whole`` is false for a part of it."""

    data_set: str
    folder: Path
    is_whole: bool = True

    @property
    def is_sequence(self) -> bool:
        """Whether it is for odometry."""
        return self.data_set in SEQUENCES


def find_data(root: Path, depth: int = _DEPTH) -> Iterator[FoundData]:
    """What lies in a folder or at most ``depth`` folders below it. Raises SourceError where there is no folder."""
    if not is_folder(root):
        raise SourceError(f"there is no folder {root}: name the one that data sets are unpacked in")
    sequence = _find_sequence(root)
    if sequence is not None:
        yield sequence
        return
    own: set[str] = set()
    for name, data_set in DATA_SETS.items():
        if any((root / mark).exists() for mark in data_set.marks):
            yield FoundData(name, root)
            own |= {PurePosixPath(mark).parts[0] for mark in data_set.marks}
    folders = sorted(
        path for path in root.iterdir() if path.name not in own and path.name[0] != "." and is_folder(path)
    )
    for folder in folders if depth > 0 else ():
        yield from find_data(folder, depth - 1)


def _find_sequence(folder: Path) -> FoundData | None:
    if is_file(folder / "mav0" / "cam0" / "sensor.yaml"):
        return FoundData("euroc", folder, _is_whole_euroc(folder / "mav0" / "cam0"))
    if is_file(folder / "cam0_sensor.yaml"):
        return FoundData("euroc", folder, is_whole=False)
    images = next((folder / name for name in _KITTI_IMAGES if is_folder(folder / name)), None)
    if images is not None and is_file(folder / "calib.txt"):
        return FoundData("kitti", folder, _is_whole_kitti(folder, images))
    if is_file(folder / "rgb.txt"):
        return FoundData("tum", folder, _is_whole_tum(folder))
    if any(next(where.glob("frame-*.color.*"), None) for where in (folder, folder / "rgb")):
        return FoundData("7scenes", folder, is_whole=False)
    return None


def _is_whole_euroc(camera: Path) -> bool:
    return _has_all(camera / "data.csv", list_images(camera / "data"))


def _is_whole_kitti(folder: Path, images: Path) -> bool:
    """Whether it has an image for each of its times; that of a test sequence has no poses."""
    return folder.resolve().parent.name == "sequences" and _has_all(folder / "times.txt", list_images(images))


def _is_whole_tum(folder: Path) -> bool:
    """Whether it lies as in TUM's archive, of colour and depth, with all images of its list."""
    is_archive = folder.resolve().name.startswith("rgbd_dataset_freiburg") and is_file(folder / "depth.txt")
    return is_archive and _has_all(folder / "rgb.txt", list_images(folder / "rgb"))


def _has_all(listing: Path, images: list[Path]) -> bool:
    """Whether there are as many images as a list has lines that are no comments."""
    if not is_file(listing):
        return False
    lines = [line for line in read_text(listing, SourceError).splitlines() if line.strip() and line[0] != "#"]
    return len(lines) == len(images)
