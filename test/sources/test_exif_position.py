"""Positions in EXIF data: written by Pillow, garbled by hand, and on real photos."""

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD
from PIL.TiffImagePlugin import IFDRational
from source_data import colour_image, shared_data

from visloc_ros.sources import open_source
from visloc_ros.sources.exif import parse_geo_position, read_geo_position
from visloc_ros.sources.measurements import GeoPosition, measurements_of

MALMO = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (55, 36, 18.0), GPS.GPSLongitudeRef: "E"}
MALMO |= {GPS.GPSLongitude: (13, 0, 9.0), GPS.GPSAltitude: 12.5, GPS.GPSAltitudeRef: b"\x00"}


def write_photo(path, tags):
    exif = Image.Exif()
    exif.get_ifd(IFD.GPSInfo).update(tags)
    Image.fromarray(colour_image(0)).save(path, exif=exif)
    return path


def test_a_position_is_read_back(tmp_path):
    position = read_geo_position(write_photo(tmp_path / "a.jpg", MALMO | {GPS.GPSHPositioningError: 3.5}))
    assert (position.latitude, position.longitude) == pytest.approx((55.605, 13.0025))
    assert (position.altitude, position.sigma) == (12.5, 3.5)


def test_south_west_and_below_the_sea_are_negative():
    tags = {**MALMO, GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "w\0", GPS.GPSAltitudeRef: b"\x01"}
    assert parse_geo_position(tags) == GeoPosition(pytest.approx(-55.605), pytest.approx(-13.0025), -12.5)


@pytest.mark.parametrize(("reference", "sign"), [(0, 1), (1, -1), (2, 1), (3, -1)])
@pytest.mark.parametrize("kind", [int, lambda value: bytes([value])])
def test_heights_above_and_below_the_ellipsoid_or_the_sea(reference, sign, kind):
    assert parse_geo_position(MALMO | {GPS.GPSAltitudeRef: kind(reference)}).altitude == sign * 12.5


def test_height_may_be_missing():
    tags = {key: value for key, value in MALMO.items() if key != GPS.GPSAltitude}
    assert parse_geo_position(tags).altitude is None
    assert parse_geo_position(MALMO | {GPS.GPSAltitude: IFDRational(1, 0)}).altitude is None


@pytest.mark.parametrize(
    "garbled",
    [
        {GPS.GPSLatitude: None},
        {GPS.GPSLatitude: (55, 36)},
        {GPS.GPSLatitude: 55.6},
        {GPS.GPSLatitude: (55, -36, 0)},
        {GPS.GPSLatitude: (95, 0, 0)},
        {GPS.GPSLongitude: (181, 0, 0)},
        {GPS.GPSLongitude: (IFDRational(13, 0), 0, 0)},
        {GPS.GPSLongitude: (float("nan"), 0, 0)},
        {GPS.GPSLongitude: ("thirteen", 0, 0)},
        {GPS.GPSLatitudeRef: None},
        {GPS.GPSLongitudeRef: "X"},
        {GPS.GPSLatitude: (0, 0, 0), GPS.GPSLongitude: (0, 0, 0)},
        {GPS.GPSStatus: "V"},
        {GPS.GPSMapDatum: "TOKYO"},
        {GPS.GPSMapDatum: "ED50\0"},
    ],
)
def test_what_makes_no_sense_is_no_position(garbled):
    assert parse_geo_position(MALMO | garbled) is None


@pytest.mark.parametrize("datum", ["WGS-84", "WGS-84   \0", "wgs 84", "JGD2011", "\0\0"])
def test_a_position_in_a_datum_near_wgs_84_is_used(datum):
    assert parse_geo_position(MALMO | {GPS.GPSMapDatum: datum, GPS.GPSStatus: "A\0"}) is not None


@pytest.mark.parametrize("altitude", [-4000.0, 65535.0])
def test_an_altitude_where_nobody_takes_photos_is_left_out(altitude):
    found = parse_geo_position(MALMO | {GPS.GPSAltitude: altitude})
    assert (found.latitude, found.altitude) == (pytest.approx(55.605), None)


@pytest.mark.parametrize("sigma_m", [0.0, 0.001])
def test_an_error_that_no_receiver_has_is_left_out(sigma_m):
    assert parse_geo_position(MALMO | {GPS.GPSHPositioningError: sigma_m}).sigma is None


def test_files_without_exif_data_have_no_position(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"not a photo")
    assert read_geo_position(tmp_path / "a.jpg") is None
    assert read_geo_position(tmp_path / "missing.jpg") is None
    assert read_geo_position(write_photo(tmp_path / "b.jpg", {})) is None


def test_a_folder_gives_positions_by_stamp(tmp_path):
    write_photo(tmp_path / "1.jpg", MALMO)
    write_photo(tmp_path / "2.jpg", {})
    write_photo(tmp_path / "3.jpg", MALMO | {GPS.GPSLatitude: (55, 37, 0)})
    source = open_source(tmp_path)
    positions = measurements_of(source).geo_positions
    assert list(positions) == [0, source.images[2].stamp_ns]
    assert positions[0].latitude == pytest.approx(55.605)


def test_real_photos_along_a_street():
    positions = measurements_of(open_source(shared_data("street_lund"))).geo_positions.values()
    assert len(positions) == 22
    latitudes = np.array([position.latitude for position in positions])
    assert latitudes[0] == pytest.approx(55 + 41 / 60 + 53.4 / 3600)
    assert np.all(np.diff(latitudes) >= 0)
    assert {position.altitude is None for position in positions} == {False}


def test_real_photos_of_other_cameras():
    photos = sorted(shared_data("exif_gps").glob("*.[jJ]*"))
    positions = {photo.name: read_geo_position(photo) for photo in photos}
    assert len(positions) == 11
    assert all(positions.values())
    assert positions["DSCN0010.jpg"].longitude == pytest.approx(11.8851, abs=1e-4)
    west = positions["mapillary_DSC00001.JPG"]
    assert (west.latitude, west.longitude, west.altitude) == pytest.approx((45.5169, -122.5728, 70.3), abs=1e-4)
