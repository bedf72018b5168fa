"""The colour camera in ``info.txt`` of RGB-D scanners: SensReader, BundleFusion, 12-Scenes, 3RScan, RIO10, ScanNet."""

from __future__ import annotations

from pathlib import Path

import pycolmap

from visloc_ros.core.camera import camera_from_calibration
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.files import LARGEST_TEXT_BYTES, is_file, read_bytes, read_text

INFO_NAMES = ("info.txt", "_info.txt")
_MATRIX, _WIDTH, _HEIGHT = "m_calibrationColorIntrinsic", "m_colorWidth", "m_colorHeight"


def find_scanner_camera(folder: Path) -> pycolmap.Camera | None:
    """The camera in the info file of a folder of images or of the scene around it; None without one.

    Raises CalibrationError for a scanner's file without a camera; other files of these names are passed over.
    """
    for path in (place / name for place in (folder, folder.resolve().parent) for name in INFO_NAMES):
        if is_file(path) and _MATRIX.encode() in read_bytes(path, CalibrationError, LARGEST_TEXT_BYTES):
            return read_scanner_camera(path)
    return None


def read_scanner_camera(path: Path) -> pycolmap.Camera:
    """The colour camera of an info file; the matrix (4, 4) is one of OpenCV's pixels, as the scanner's software has it.

    Raises CalibrationError.
    """
    lines = (line.partition("=") for line in read_text(path, CalibrationError).split("\n"))
    values = {name.strip(): value.split() for name, _, value in lines}
    try:
        (width,), (height,) = values[_WIDTH], values[_HEIGHT]
        matrix = [float(value) for value in values[_MATRIX]]
        if len(matrix) != 16:
            raise ValueError("the matrix has not 16 numbers")
        return camera_from_calibration(int(width), int(height), [*matrix[:3], *matrix[4:7], *matrix[8:11]])
    except (KeyError, ValueError, CalibrationError) as error:
        raise CalibrationError(f"{path} has no colour camera ({error})") from error
