"""The content of a folder of images: the files with their stamps, the camera, the true poses.

Stamps are read from the files' names, or counted at a rate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pycolmap

from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, check_name, read_bytes
from visloc_ros.core.integer_stamps import stamps_from_integers
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory, seconds_to_ns
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.sources.camera_files import read_camera_file
from visloc_ros.sources.image_header import ImageHeader
from visloc_ros.sources.measurements import ImuFile
from visloc_ros.sources.photos import read_photo_header
from visloc_ros.sources.scanner_info import find_scanner_camera

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif", ".hif")
_UNREAD_SUFFIXES = (
    ".tif", ".tiff", ".bmp", ".gif", ".pgm", ".ppm", ".pnm", ".jp2", ".jxl", ".avif", ".exr", ".dng", ".cr2", ".cr3",
    ".nef", ".arw", ".raf", ".orf", ".rw2",
)  # fmt: skip
CAMERA_NAME = "camera.yaml"
TRUTH_NAMES = ("groundtruth_tum.txt", "groundtruth_cam0_tum.txt", "groundtruth.txt")
ROUNDING_NS = 1_000  # trajectories are often written with microseconds only
_DECIMAL_SECONDS = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class StampedImage:
    """An image file and the stamp of its exposure in nanoseconds.

    ``image_name`` is empty where the file's name is the image's, ``camera`` None where all images share one.
    """

    stamp_ns: int
    path: Path
    image_name: str = ""
    camera: pycolmap.Camera | None = None

    @property
    def name(self) -> str:
        """Name of the image, unique in its folder."""
        return self.image_name or self.path.name


@dataclass(frozen=True, eq=False)
class Layout:
    """Images in order of time, the camera where it is known, poses ``world_from_camera`` and the IMU if any.

    ``camera_by_name`` is a guess: that of a data set whose names these are.
    """

    images: tuple[StampedImage, ...]
    camera: pycolmap.Camera | None
    ground_truth: Trajectory | None
    imu: ImuFile | None = None
    camera_by_name: pycolmap.Camera | None = None


def make_layout(
    root: Path,
    files: Sequence[Path],
    stamps_ns: Sequence[int],
    camera: pycolmap.Camera | None,
    ground_truth: Trajectory | None = None,
) -> Layout:
    """Join images and stamps in order of time; files in ``root`` fill in missing data.

    These are ``camera.yaml``, the info file of a scanner, and a TUM file. Raises SourceError when two images have the
    same stamp.
    """
    images = sorted(map(StampedImage, stamps_ns, files), key=lambda image: image.stamp_ns)
    for one, other in pairwise(images):
        if one.stamp_ns == other.stamp_ns:
            raise SourceError(f"{one.path.name} and {other.path.name} in {root} have the same stamp: keep one of them")
    truth = ground_truth or _find_trajectory(root)
    snapped = snap_stamps(truth, [image.stamp_ns for image in images]) if truth else None
    own_camera = root / CAMERA_NAME
    recorded = read_camera_file(own_camera) if own_camera.exists() else camera or find_scanner_camera(root)
    return Layout(tuple(images), recorded, snapped)


def list_images(folder: Path) -> list[Path]:
    """JPEG, PNG, WebP and HEIC files of a folder in natural order, hidden ones left out.

    Raises SourceError where a name is not in UTF-8.
    """
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    for file in files:
        check_name(file, SourceError)
    return sorted(files, key=lambda path: natural_key(path.name))


def describe_unread(folder: Path) -> str:
    """Images of a folder that are of no kind that is read, and what to do; empty where there are none."""
    suffixes = Counter(path.suffix.lower() for path in folder.iterdir() if path.name[0] != ".")
    found = [f"{suffixes[one]} {one}" for one in _UNREAD_SUFFIXES if suffixes[one]]
    return f"{', '.join(found)} (convert them to PNG)" if found else ""


def first_readable(files: Sequence[Path]) -> tuple[Path, ImageHeader]:
    """First complete image by its header, and that header. Raises SourceError when there is none."""
    failure: SourceError | None = None
    for path in files:
        try:
            return path, read_photo_header(read_bytes(path, SourceError, LARGEST_IMAGE_BYTES))
        except SourceError as error:
            failure = error
    raise SourceError(f"none of the {len(files)} images in {files[0].parent} can be decoded: {failure}")


def refuse_rate(root: Path, rate_hz: float) -> None:
    """Refuse a rate for images that carry stamps. Raises ConfigError."""
    if rate_hz > 0:
        raise ConfigError(
            f"the images of {root} carry their own stamps, so rate_hz={rate_hz:g} does not apply: "
            "leave it 0, and read fewer images by 'every'"
        )


def _find_trajectory(root: Path) -> Trajectory | None:
    path = next((root / name for name in TRUTH_NAMES if (root / name).is_file()), None)
    return read_tum(path) if path else None


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that orders numbers in names by value: image9 before image10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def stamps_at_rate(numbers: Sequence[int], rate_hz: float) -> list[int]:
    """Stamps in nanoseconds of frames numbered from zero at a constant rate."""
    return [round(number * NANOSECONDS / rate_hz) for number in numbers]


def stamps_from_names(stems: Sequence[str]) -> list[int] | None:
    """Stamps in nanoseconds that file names (without suffix) spell, or None when they are no times.

    Seconds are decimal fractions; the unit of whole numbers is that of ``stamps_from_integers``.
    """
    if not stems:
        return None
    if all(stem.isdecimal() for stem in stems):
        return stamps_from_integers(stems)
    if all(_DECIMAL_SECONDS.fullmatch(stem) for stem in stems):
        return [seconds_to_ns(stem) for stem in stems]
    return None


def snap_stamps(trajectory: Trajectory, stamps_ns: Sequence[int]) -> Trajectory:
    """Give the pose nearest to an image, where it lies within a microsecond, exactly that image's stamp.

    Text files round stamps; without this the last image could fall just outside the trajectory.
    """
    given, images = trajectory.stamps_ns, np.asarray(stamps_ns, dtype=np.int64)
    right = np.searchsorted(given, images)
    candidates = np.clip([right - 1, right], 0, len(given) - 1)
    distances = np.abs(given[candidates] - images)
    nearest = np.take_along_axis(candidates, distances.argmin(axis=0)[None], axis=0)[0]
    close = distances.min(axis=0) <= ROUNDING_NS
    snapped = given.copy()
    snapped[nearest[close]] = images[close]
    return Trajectory(snapped, trajectory.poses)
