"""What EXIF data say of a photo: written by Pillow, garbled by hand, and on real photos."""

from datetime import datetime, timedelta, timezone

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational
from source_data import colour_image, shared_data

from visloc_geo.photo_tags import parse_direction, read_photo_tags
from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import SourceError

PORTLAND = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (45, 30, 0.0), GPS.GPSLongitudeRef: "W"}
PORTLAND |= {GPS.GPSLongitude: (122, 36, 0.0)}
TAKEN, OFFSET = 0x9003, 0x9011
UTC = timezone.utc


def tags_of(folder, gps=None, exif=None, base=None, size=(64, 48)):
    data = Image.Exif()
    data.update(base or {})
    data.get_ifd(IFD.GPSInfo).update(gps or {})
    data.get_ifd(IFD.Exif).update(exif or {})
    Image.fromarray(colour_image(0, *size)).save(folder / "a.jpg", exif=data)
    return read_photo_tags(folder / "a.jpg")


def test_a_direction_from_true_north_is_taken_as_it_is(tmp_path):
    found = tags_of(tmp_path, {GPS.GPSImgDirectionRef: "T\0", GPS.GPSImgDirection: IFDRational(27089, 100)})
    assert found.direction.heading_deg == pytest.approx(270.89)
    assert found.direction.sigma_deg == 10.0
    assert found.position is None


@pytest.mark.parametrize(
    ("taken", "heading_deg", "sigma_deg"),
    [("2022:05:27 12:00:00", 14.9, 10.0), ("1990:06:01 12:00:00", 16.4, 10.8), (None, 15.1, 10.2)],
)
def test_a_direction_from_magnetic_north_is_turned_by_the_declination(tmp_path, taken, heading_deg, sigma_deg):
    magnetic = PORTLAND | {GPS.GPSImgDirectionRef: "M", GPS.GPSImgDirection: 0.0}
    found = tags_of(tmp_path, magnetic, {TAKEN: taken} if taken else {})
    assert found.direction.heading_deg == pytest.approx(heading_deg, abs=0.2)
    assert found.direction.sigma_deg == pytest.approx(sigma_deg, abs=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {GPS.GPSImgDirectionRef: None},
        {GPS.GPSImgDirectionRef: "X"},
        {GPS.GPSImgDirection: IFDRational(0, 0)},
        {GPS.GPSImgDirection: 361.0},
        {GPS.GPSImgDirection: -1.0},
        {GPS.GPSImgDirection: None},
    ],
)
def test_a_direction_that_makes_no_sense_is_none(change):
    good = {GPS.GPSImgDirectionRef: "T", GPS.GPSImgDirection: 12.0}
    assert parse_direction(good, None, None) is not None
    assert parse_direction(good | change, None, None) is None


def test_from_magnetic_north_without_a_position_there_is_no_direction():
    assert parse_direction({GPS.GPSImgDirectionRef: "M", GPS.GPSImgDirection: 12.0}, None, None) is None


SATELLITE = {GPS.GPSDateStamp: "2018:06:08", GPS.GPSTimeStamp: (20, 24, 11)}


@pytest.mark.parametrize(
    ("gps", "exif", "expected"),
    [
        (SATELLITE, {TAKEN: "2018:06:08 13:24:10", OFFSET: "-07:00"}, datetime(2018, 6, 8, 20, 24, 11, tzinfo=UTC)),
        ({}, {TAKEN: "2018:06:08 13:24:10", OFFSET: "-07:00"}, datetime(2018, 6, 8, 20, 24, 10, tzinfo=UTC)),
        ({}, {TAKEN: "2018:06:08 13:24:10", OFFSET: "   :  "}, datetime(2018, 6, 8, 13, 24, 10)),
        ({}, {0x9004: "2018:06:08 13:24:10"}, datetime(2018, 6, 8, 13, 24, 10)),
        ({}, {TAKEN: "0000:00:00 00:00:00"}, None),
        ({GPS.GPSTimeStamp: (20, 24, 11)}, {}, None),
        (SATELLITE | {GPS.GPSTimeStamp: (IFDRational(0, 0), 24, 11)}, {}, None),
        (SATELLITE | {GPS.GPSTimeStamp: (25, 0, 0)}, {}, None),
        ({GPS.GPSDateStamp: "9999:12:31", GPS.GPSTimeStamp: (23, 59, 60)}, {}, None),
    ],
)
def test_the_time_is_that_of_the_satellites_before_that_of_the_camera(tmp_path, gps, exif, expected):
    found = tags_of(tmp_path, gps, exif).captured_at
    assert found == expected
    assert (found is None) or (found.tzinfo is None) == (expected.tzinfo is None)


@pytest.mark.parametrize("orientation", range(10))
def test_the_camera_is_that_of_the_photo_shown_upright(tmp_path, orientation):
    found = tags_of(tmp_path, exif={0xA405: 26}, base={Base.Orientation: orientation}, size=(640, 480))
    camera = found.calibration.camera
    assert (camera.width, camera.height) == ((480, 640) if 5 <= orientation <= 8 else (640, 480))
    assert found.calibration.source is CalibrationSource.EXIF
    assert camera.mean_focal_length() == pytest.approx(26 / 43.27 * 800)


def test_a_known_camera_has_its_focal_length_by_its_sensor(tmp_path):
    maker = {Base.Make: "NIKON", Base.Model: "COOLPIX P6000"}
    found = tags_of(tmp_path, exif={0x920A: IFDRational(6)}, base=maker, size=(640, 480))
    assert found.maker == "NIKON COOLPIX P6000"
    assert found.calibration.source is CalibrationSource.EXIF
    assert found.calibration.camera.mean_focal_length() == pytest.approx(6.0 / 7.44 * 640)


def test_what_is_no_photo_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a photo")
    with pytest.raises(SourceError):
        read_photo_tags(tmp_path / "a.jpg")


def test_a_photo_without_exif_data_has_a_guessed_camera_alone(tmp_path):
    Image.fromarray(colour_image(0)).save(tmp_path / "a.png")
    found = read_photo_tags(tmp_path / "a.png")
    assert found.calibration.source is CalibrationSource.GUESSED
    assert (found.maker, found.position, found.direction, found.captured_at) == ("", None, None, None)


def test_real_photos():
    folder = shared_data("exif_gps")
    sony, nikon = (read_photo_tags(folder / name) for name in ("mapillary_DSC00001.JPG", "DSCN0012.jpg"))
    assert sony.captured_at == datetime(2018, 6, 8, 13, 24, 11, tzinfo=timezone(timedelta(hours=-7)))
    assert sony.direction is None  # it wrote the direction in which it was carried, not that of the image
    assert nikon.calibration.camera.mean_focal_length() == pytest.approx(28 / 43.27 * 800)
    assert nikon.captured_at == datetime(2008, 10, 23, 14, 28, 17, 240000, tzinfo=UTC)
