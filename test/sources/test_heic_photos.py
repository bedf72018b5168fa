"""Photos in HEIC, as phones write them.

``test/data/phone_portrait.heic`` is frame 100 of the simulated room (256 x 192, focal length 185 px, no lens), with
EXIF data of an equivalent focal length of 26 mm, a place and orientation 6. It was encoded by ``heif-enc -q 50`` of
libheif 1.15, which keeps the EXIF data; a property ``irot`` of 270 degrees was added by hand, as phones write it.
"""

import shutil
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_writer import write_bag
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.exif import read_geo_position
from visloc_ros.sources.image_header import ImageHeader
from visloc_ros.sources.phones import phone_of
from visloc_ros.sources.photos import decode_photo, read_photo_header
from visloc_ros.sources.ros_images import decode_compressed

HEIC = Path(__file__).parents[1] / "data" / "phone_portrait.heic"
WIDTH, HEIGHT = 192, 256  # shown upright
FOCAL_PX = 26.0 / 43.27 * 320.0


@pytest.fixture(scope="module")
def upright():
    config = SimulationConfig(width=HEIGHT, height=WIDTH, focal_px=185.0, lens="none", noise_std=0.0)
    return np.rot90(simulate(config).frame(100).image, -1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(HEIC, tmp_path / "photos" / "IMG_0001.HEIC")
    return tmp_path / "photos"


def test_a_photo_is_turned_once(folder, upright):
    """By its container: the orientation in its EXIF data says the same again."""
    (frame,) = open_source(folder)
    assert frame.image.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(frame.image.astype(int) - upright).mean() < 6
    assert (frame.camera.width, frame.camera.height) == (WIDTH, HEIGHT)


def test_focal_length_place_and_maker_are_those_of_the_exif_data(folder):
    source = open_source(folder)
    (frame,) = source
    assert frame.calibration.source is CalibrationSource.EXIF
    assert frame.camera.mean_focal_length() == pytest.approx(FOCAL_PX)
    assert phone_of(source) == "Apple iPhone 13"
    position = read_geo_position(folder / "IMG_0001.HEIC")
    assert (position.latitude, position.longitude) == pytest.approx((48.1375, 11.575))
    assert source.read_measurements().geo_positions[frame.stamp_ns] == position


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_without_an_equivalent_focal_length_the_sensor_gives_it(folder, monkeypatch, prefix):
    """As of cameras that write HEIC, and the focal length of the lens alone."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "NIKON", "COOLPIX P6000"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] = IFDRational(6)
    data = prefix + exif.tobytes().removeprefix(b"Exif\0\0")
    for module in ("exif", "exif_focal_length"):
        monkeypatch.setattr(f"visloc_ros.sources.{module}.read_heif_exif", lambda photo: data)
    (frame,) = open_source(folder)
    assert frame.calibration.source is CalibrationSource.EXIF
    assert frame.camera.mean_focal_length() == pytest.approx(6.0 / 7.44 * HEIGHT)


def test_photos_in_heic_and_jpeg_are_of_one_camera(folder):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / "IMG_0002.jpg", exif=exif)
    one, other = open_source(folder)
    assert one.calibration is other.calibration


def test_a_calibration_is_of_the_photo_as_it_is_shown(folder, tmp_path):
    write_camera_yaml(
        tmp_path / "upright.yaml",
        pycolmap.Camera(model="PINHOLE", width=WIDTH, height=HEIGHT, params=[185, 185, 96, 128]),
    )
    (frame,) = open_source(folder, SourceConfig(camera=str(tmp_path / "upright.yaml")))
    assert frame.calibration.source is CalibrationSource.GIVEN
    write_camera_yaml(
        tmp_path / "sensor.yaml",
        pycolmap.Camera(model="PINHOLE", width=HEIGHT, height=WIDTH, params=[185, 185, 128, 96]),
    )
    with pytest.raises(CalibrationError, match="the image is 192x256 but the calibration is for 256x192"):
        open_source(folder, SourceConfig(camera=str(tmp_path / "sensor.yaml")))


def test_a_bag_of_photos_holds_them_without_loss(folder, tmp_path):
    source = open_source(folder)
    write_bag(source, tmp_path / "bag")
    (frame,), (photo,) = open_source(tmp_path / "bag"), source
    np.testing.assert_array_equal(frame.image, photo.image)


def with_size(width, height):
    """The photo, its header saying another size of what is stored."""
    data = bytearray(HEIC.read_bytes())
    place = data.index(b"ispe") + 8
    data[place : place + 8] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


def test_the_size_is_known_before_anything_is_decoded():
    assert read_photo_header(HEIC.read_bytes()) == ImageHeader("heic", WIDTH, HEIGHT)
    assert read_photo_header(with_size(4000, 3000)) == ImageHeader("heic", 3000, 4000)


@pytest.mark.parametrize(("width", "height"), [(60_000, 50_000), (20_000, 64)])
def test_sizes_that_no_camera_has_are_refused_undecoded(width, height, monkeypatch):
    monkeypatch.setattr("visloc_ros.sources.photos.decode_heif", lambda data: pytest.fail("it was decoded"))
    with pytest.raises(SourceError):
        read_photo_header(with_size(width, height))


@pytest.mark.parametrize("size", [64, 512])
def test_a_photo_larger_or_smaller_than_its_header_says_is_refused(size):
    data = with_size(size, size)
    with pytest.raises(SourceError, match="HEIC image is damaged"):
        decode_photo(read_photo_header(data), data)


@pytest.mark.parametrize("kept", [16, 100, 700, 5000])
def test_truncated_photos_are_refused_in_words(kept):
    data = HEIC.read_bytes()[:kept]
    with pytest.raises(SourceError, match="HEIC image is"):
        decode_photo(read_photo_header(data), data)


def test_broken_photos_are_skipped_in_a_folder(folder):
    (folder / "IMG_0000.HEIC").write_bytes(HEIC.read_bytes()[:5000])
    source = open_source(folder)
    assert (len(list(source)), source.skipped) == (1, 1)


def test_messages_of_ros_hold_no_heic():
    with pytest.raises(SourceError, match="neither JPEG nor PNG"):
        decode_compressed("heic", HEIC.read_bytes())
