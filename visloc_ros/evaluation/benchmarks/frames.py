"""Images of a data set as frames: with the camera that the data set gives, at the size that they have on disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pycolmap

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import rescale
from visloc_ros.evaluation.benchmarks.scene import DatabaseImage, QueryImage
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.layouts import StampedImage, first_readable
from visloc_ros.sources.stamps import stamps_at_rate

_RATE_HZ = 1.0  # nominal: the sets' images are counted, not timed

Size = tuple[int, int]


def open_images(name: str, images: Sequence[DatabaseImage | QueryImage]) -> FolderSource:
    """The images in their order, by their names; a broken one is skipped, counted and logged.

    Cameras that were made for another size of the same images, as some lists have them, are scaled. Raises SourceError
    where none can be read; iteration raises CalibrationError where a camera does not fit its image at all.
    """
    sizes = _sizes_on_disk(images)
    fit = partial(_fit, sizes=sizes)
    stamps_ns = stamps_at_rate(range(len(images)), _RATE_HZ)
    stamped = tuple(
        StampedImage(stamp_ns, image.path, image.name, fit(image.camera))
        for stamp_ns, image in zip(stamps_ns, images, strict=True)
    )
    calibration = CameraCalibration(fit(images[0].camera), CalibrationSource.RECORDED)
    return FolderSource(name, stamped, calibration, ground_truth=None)


def _sizes_on_disk(images: Sequence[DatabaseImage | QueryImage]) -> dict[Size, Size]:
    """For each size that cameras are for, that of the first such image that can be read."""
    by_size: dict[Size, list[DatabaseImage | QueryImage]] = {}
    for image in images:
        by_size.setdefault((image.camera.width, image.camera.height), []).append(image)
    headers = {size: first_readable([image.path for image in alike])[1] for size, alike in by_size.items()}
    return {size: (header.width, header.height) for size, header in headers.items()}


def _fit(camera: pycolmap.Camera, sizes: dict[Size, Size]) -> pycolmap.Camera:
    """The camera at the size on disk, where that has the same proportions to a pixel."""
    width, height = sizes[camera.width, camera.height]
    is_alike = abs(camera.width * height - camera.height * width) <= max(camera.width, width)
    if (width, height) == (camera.width, camera.height) or not is_alike:
        return camera
    return rescale(camera, width, height)
