"""A drive of KITTI's raw data: ``image_02/data``, ``timestamps.txt``, and ``calib_cam_to_cam.txt`` beside or above."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import is_file, read_text
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.sources.layouts import Layout, first_readable, list_images, make_layout, refuse_rate

_CAMERAS = ("02", "00", "03", "01")  # left in colour, left in grey, right in colour, right in grey
_CALIBRATION = "calib_cam_to_cam.txt"


def read_kitti_raw(root: Path, rate_hz: float) -> Layout | None:
    """Read a drive, or the folder of one of its cameras; None where it is none.

    Images are rectified (``_sync``: P_rect) or not (``_extract``: K and D), as their size says. Raises SourceError or
    CalibrationError.
    """
    folders = [root / f"image_{number}" for number in _CAMERAS]
    folders += [root] if root.resolve().name in {folder.name for folder in folders} else []
    for folder in folders:
        files, times = list_images(folder / "data"), folder / "timestamps.txt"
        if files and times.is_file():
            refuse_rate(root, rate_hz)
            number = folder.resolve().name.removeprefix("image_")
            return make_layout(root, files, _stamps(times, files), _find_camera(folder.resolve(), files, number))
    return None


def calibrations_above(folder: Path) -> list[Path]:
    """Where the calibration of the camera whose folder this is may lie, the nearest first."""
    return [above / _CALIBRATION for above in folder.parents[:3]]


def _stamps(times: Path, files: list[Path]) -> list[int]:
    lines = read_text(times, SourceError).split("\n")
    try:
        return [_nanoseconds(lines[int(path.stem)]) for path in files]
    except (ValueError, IndexError) as error:
        raise SourceError(f"{times} has no time for each image of {files[0].parent}: {error}") from error


def _nanoseconds(line: str) -> int:
    """A time as '2011-09-26 13:02:25.964389445', in nanoseconds."""
    whole, _, fraction = line.strip().partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * NANOSECONDS + int((fraction + "0" * 9)[:9])


def _find_camera(folder: Path, files: list[Path], number: str) -> pycolmap.Camera | None:
    """The camera of the images by the calibration of their day; None where that was not downloaded."""
    path = next(filter(is_file, calibrations_above(folder)), None)
    if path is None:
        return None
    _, header = first_readable(files)
    lines = (line.partition(":") for line in read_text(path, CalibrationError).splitlines())
    values = {key: text.split() for key, _, text in lines}
    try:
        sizes = {name: _size(values[name]) for name in (f"S_rect_{number}", f"S_{number}")}
        if sizes[f"S_rect_{number}"] == (header.width, header.height):
            projection = np.array(values[f"P_rect_{number}"], dtype=float).reshape(3, 4)
            return camera_from_calibration(header.width, header.height, projection[:, :3])
        if sizes[f"S_{number}"] == (header.width, header.height):
            k, d = (np.array(values[f"{name}_{number}"], dtype=float) for name in "KD")
            return camera_from_calibration(header.width, header.height, k, "plumb_bob", d.tolist())
    except (KeyError, ValueError) as error:
        raise CalibrationError(f"{path} is no calibration of KITTI's camera {number}: {error}") from error
    known = ", ".join(f"{name} {width}x{height}" for name, (width, height) in sizes.items())
    raise CalibrationError(f"the images are {header.width}x{header.height}, but {path} is for {known}")


def _size(words: list[str]) -> tuple[int, int]:
    width, height = (round(float(word)) for word in words)
    return width, height
