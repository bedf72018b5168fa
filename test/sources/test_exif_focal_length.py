"""Focal lengths in EXIF data that are not, or no longer, of the image."""

import math

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from source_data import colour_image

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.sources import open_source

SIZE = (640, 480)
OF_26_MM = 26.0 / 43.27 * 800.0
EXIF_SIZE = {0xA002: 640, 0xA003: 480}


def calibration(folder, tags, size=SIZE, box=None):
    """Of a photo of 640x480 pixels with these EXIF tags, cut to a box and then made smaller."""
    photo = Image.fromarray(colour_image(0, *SIZE))
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(tags)
    photo = photo.crop(box) if box else photo
    photo.resize(size).save(folder / "a.jpg", exif=exif)
    return open_source(folder).calibration


def plane(per_inch=45156, unit=2):
    """A lens of 24 mm before a sensor of 36 mm with 640 pixels: a focal length of 426.7 pixels."""
    resolution = IFDRational(per_inch, 100)
    return {0x920A: IFDRational(24), 0xA20E: resolution, 0xA20F: resolution, 0xA210: unit}


@pytest.mark.parametrize("tags", [{0xA405: 26}, {0xA405: 26} | EXIF_SIZE])
def test_a_photo_as_its_camera_wrote_it(tmp_path, tags):
    found = calibration(tmp_path, tags)
    assert (found.source, found.focal_sigma) == (CalibrationSource.EXIF, 0.04)
    assert found.camera.mean_focal_length() == pytest.approx(OF_26_MM)


@pytest.mark.parametrize(
    ("box", "size"), [((80, 0, 560, 480), (480, 480)), ((0, 0, 640, 360), (640, 360)), ((0, 0, 600, 480), (300, 240))]
)
def test_a_photo_that_was_cut_has_no_focal_length(tmp_path, box, size):
    found = calibration(tmp_path, {0xA405: 26} | EXIF_SIZE, size, box)
    assert found.source is CalibrationSource.GUESSED
    assert found.camera.mean_focal_length() == pytest.approx(1.2 * max(size))


@pytest.mark.parametrize("size", [(320, 240), (213, 160), (64, 48)])
@pytest.mark.parametrize(("tags", "focal_length"), [({0xA405: 26}, OF_26_MM), (plane(), 426.67)])
def test_a_photo_that_was_made_smaller_keeps_its_view(tmp_path, size, tags, focal_length):
    found = calibration(tmp_path, tags | EXIF_SIZE, size)
    assert found.source is CalibrationSource.EXIF
    assert found.camera.mean_focal_length() == pytest.approx(focal_length * size[0] / 640, rel=0.01)


def test_a_photo_that_a_program_has_turned(tmp_path):
    found = calibration(tmp_path, {0xA405: 26, 0xA002: 480, 0xA003: 640})
    assert found.camera.mean_focal_length() == pytest.approx(OF_26_MM)


@pytest.mark.parametrize("tags", [{0xA405: 1}, {0xA405: 65535}, plane(per_inch=0), plane(per_inch=45156 * 10_000)])
def test_a_focal_length_that_no_lens_has_is_a_guess(tmp_path, tags):
    found = calibration(tmp_path, tags)
    assert found.source is CalibrationSource.GUESSED
    assert found.camera.mean_focal_length() == pytest.approx(1.2 * 640)


@pytest.mark.parametrize("zoom", [2, 4])
def test_a_digital_zoom_may_be_counted_or_not(tmp_path, zoom):
    found = calibration(tmp_path, {0xA405: 26, 0xA404: IFDRational(zoom)})
    for counted in (1.0, zoom):
        error = math.log(counted * OF_26_MM / found.camera.mean_focal_length())
        assert abs(error) <= found.focal_sigma
    assert found.focal_sigma <= 0.05 + 0.5 * np.log(zoom)


@pytest.mark.parametrize("ratio", [IFDRational(0, 0), IFDRational(1), IFDRational(0), "x"])
def test_no_digital_zoom(tmp_path, ratio):
    assert calibration(tmp_path, {0xA405: 26, 0xA404: ratio}).focal_sigma == pytest.approx(0.04)
