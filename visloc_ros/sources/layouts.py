"""The content of a folder of images: the files with their stamps, the camera, the true poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pycolmap

from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, read_bytes
from visloc_ros.core.trajectory import Trajectory, read_tum
from visloc_ros.sources.calibration import read_camera_yaml
from visloc_ros.sources.image_header import ImageHeader
from visloc_ros.sources.imu_file import ImuFile
from visloc_ros.sources.photos import read_photo_header
from visloc_ros.sources.stamps import natural_key, snap_stamps

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".heic", ".heif", ".hif")
CAMERA_NAME = "camera.yaml"
_TRUTH_NAMES = ("groundtruth_tum.txt", "groundtruth_cam0_tum.txt", "groundtruth.txt")


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
    """Images in order of time, the camera where it is known, poses ``world_from_camera`` and the IMU if any."""

    kind: str
    images: tuple[StampedImage, ...]
    camera: pycolmap.Camera | None
    ground_truth: Trajectory | None
    imu: ImuFile | None = None


def make_layout(
    kind: str,
    root: Path,
    files: Sequence[Path],
    stamps_ns: Sequence[int],
    camera: pycolmap.Camera | None,
    ground_truth: Trajectory | None = None,
) -> Layout:
    """Join images and stamps in order of time; ``camera.yaml`` and a TUM file in ``root`` fill in missing data.

    Raises SourceError when two images have the same stamp.
    """
    images = sorted(map(StampedImage, stamps_ns, files), key=lambda image: image.stamp_ns)
    for one, other in pairwise(images):
        if one.stamp_ns == other.stamp_ns:
            raise SourceError(f"{one.path.name} and {other.path.name} in {root} have the same stamp: keep one of them")
    truth = ground_truth or _find_trajectory(root)
    snapped = snap_stamps(truth, [image.stamp_ns for image in images]) if truth else None
    own_camera = root / CAMERA_NAME
    return Layout(kind, tuple(images), read_camera_yaml(own_camera) if own_camera.exists() else camera, snapped)


def list_images(folder: Path) -> list[Path]:
    """JPEG, PNG and HEIC files of a folder in natural order, hidden ones left out."""
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != ".")
    return sorted(files, key=lambda path: natural_key(path.name))


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
    path = next((root / name for name in _TRUTH_NAMES if (root / name).is_file()), None)
    return read_tum(path) if path else None
