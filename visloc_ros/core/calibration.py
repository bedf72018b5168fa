"""The source of a camera's intrinsics, and the uncertainty of their focal length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pycolmap

from visloc_ros.core.camera import guess_camera, has_squeezed_pixels

# The widest phone lenses in use have 0.5, short telephoto lenses 2 times the longer side as focal length: a factor of
# about exp(0.35) to either side of the usual guess, 1.2.
GUESSED_FOCAL_SIGMA = 0.35
CENTRED_SIGMA = 0.015  # of the longer side: principal points of cameras lie 1 % of it from the middle, and more


class CalibrationSource(str, Enum):
    """The source of intrinsics, in order of preference."""

    GIVEN = "given"
    RECORDED = "recorded"
    EXIF = "exif"
    MAP = "map"
    ESTIMATED = "estimated"
    NAME = "name"
    GUESSED = "guessed"


_WORDS = {
    CalibrationSource.GIVEN: "as given",
    CalibrationSource.RECORDED: "as recorded with the images",
    CalibrationSource.EXIF: "from the photo's EXIF data",
    CalibrationSource.MAP: "the map's camera, confirmed by frames found",
    CalibrationSource.ESTIMATED: "estimated from frames found in the map",
    CalibrationSource.NAME: "guessed from the names of the files or their folder",
    CalibrationSource.GUESSED: "guessed from the image size alone",
}


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """Intrinsics, where they come from, and the relative standard deviation of the focal length (0: taken as exact).

    ``part_sigma`` is the standard deviation of the principal point as a share of the longer side, of an image that may
    be any enlarged part of what the camera sees.

    ``alternative`` is what the same camera_info says of images that are rectified, if these are taken not to be, or the
    other way round; None where it says nothing else.

    Frames that share one such object come from one camera: its intrinsics are estimated from all of them together.
    """

    camera: pycolmap.Camera
    source: CalibrationSource
    focal_sigma: float = 0.0
    alternative: pycolmap.Camera | None = None
    part_sigma: float = 0.0

    @property
    def is_provisional(self) -> bool:
        """Whether the intrinsics are only a guess, which estimates from frames replace."""
        return self.source in (CalibrationSource.EXIF, CalibrationSource.NAME, CalibrationSource.GUESSED)

    @property
    def principal_point_sigma_px(self) -> float:
        """Standard deviation of the principal point along an axis: of one that is taken to be in the middle."""
        is_centred = self.is_provisional or self.source is CalibrationSource.ESTIMATED
        share = math.hypot(CENTRED_SIGMA if is_centred else 0.0, self.part_sigma)
        return share * max(self.camera.width, self.camera.height)

    def __str__(self) -> str:
        sure = f" to {100 * self.focal_sigma:.2g} %" if self.focal_sigma else ""
        return f"focal length {self._focal_lengths} px{sure}, {_WORDS[self.source]}"

    @property
    def _focal_lengths(self) -> str:
        camera = self.camera
        if camera.focal_length_idxs() and has_squeezed_pixels(camera):
            return f"{camera.focal_length_x:.1f} x {camera.focal_length_y:.1f}"
        return f"{camera.mean_focal_length():.1f}"

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; the parameters are in COLMAP's order and pixels."""
        return {
            "source": self.source.value,
            "description": str(self),
            "focal_length_px": float(self.camera.mean_focal_length()),
            "focal_sigma": self.focal_sigma,
            "model": self.camera.model.name,
            "width": self.camera.width,
            "height": self.camera.height,
            "params": [float(value) for value in self.camera.params],
        }


def sigma_of_part(enlargement: float) -> float:
    """Standard deviation of the principal point, as a share of the image, by how much the image may be enlarged.

    The part that is enlarged may be any (a uniform distribution); an image that is not enlarged is whole.
    """
    return max(0.0, 0.5 * (enlargement - 1.0)) / math.sqrt(3.0)


def guess_calibration(width: int, height: int) -> CameraCalibration:
    """The calibration guessed from the image size alone."""
    return CameraCalibration(guess_camera(width, height), CalibrationSource.GUESSED, GUESSED_FOCAL_SIGMA)
