import io

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from source_data import colour_image, encode

from visloc_ros.core.errors import SourceError
from visloc_ros.sources.image_header import ImageHeader, read_image_header


@pytest.mark.parametrize(("suffix", "name"), [(".jpg", "jpeg"), (".png", "png")])
def test_header_shows_format_and_size_without_decoding(suffix, name):
    assert read_image_header(encode(colour_image(0, 70, 31), suffix)) == ImageHeader(name, 70, 31)


def test_progressive_jpeg_is_read_as_well():
    data = cv2.imencode(".jpg", colour_image(0), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert read_image_header(data) == ImageHeader("jpeg", 64, 48)


def test_the_end_of_an_embedded_thumbnail_is_not_taken_for_the_end_of_the_image():
    image, thumbnail = encode(colour_image(0), ".jpg"), encode(colour_image(1, 16, 12), ".jpg")
    length = (len(thumbnail) + 2).to_bytes(2, "big")
    with_thumbnail = image[:2] + b"\xff\xe1" + length + thumbnail + image[2:]
    assert read_image_header(with_thumbnail) == ImageHeader("jpeg", 64, 48)
    with pytest.raises(SourceError, match="truncated"):
        read_image_header(with_thumbnail[:-2])


def test_padding_after_the_end_is_allowed():
    assert read_image_header(encode(colour_image(0), ".jpg") + bytes(4096)).width == 64


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [9, 20, 200, -11])
def test_truncated_images_are_recognised(suffix, kept):
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with pytest.raises(SourceError, match="truncated"):
        read_image_header(encode(noise, suffix)[:kept])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(50), "neither JPEG nor PNG, but a GIF"),
        (b"II*\0" + bytes(50), "a TIFF"),
        (b"\0\0\0\x01\x67" + bytes(50), "video"),
        (b"\xff\xd8" + bytes(50), "marker is missing"),
    ],
)
def test_other_bytes_are_refused(data, message):
    with pytest.raises(SourceError, match=message):
        read_image_header(data)


def photo(orientation: int, byte_order: bytes = b"II") -> bytes:
    exif = Image.Exif()
    exif.endian = {b"II": "<", b"MM": ">"}[byte_order]
    exif[ExifTags.Base.Make] = "a camera"
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.fromarray(colour_image(0, 70, 31)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("byte_order", [b"II", b"MM"])
@pytest.mark.parametrize(
    ("orientation", "turns", "upright"), [(1, 0, (70, 31)), (3, 2, (70, 31)), (6, 1, (31, 70)), (8, 3, (31, 70))]
)
def test_the_header_shows_how_a_photo_is_shown_upright(orientation, turns, upright, byte_order):
    data = photo(orientation, byte_order)
    assert byte_order in data[:40]
    header = read_image_header(data)
    assert header == ImageHeader("jpeg", 70, 31, turns)
    assert header.upright_size == upright


def test_garbled_exif_data_leave_a_photo_as_it_is():
    data = photo(6)
    begin = data.index(b"II*\0")
    for offset, wrong in ((begin, b"\0\0\0\0"), (begin + 4, b"\xff\xff\xff\x7f"), (begin + 8, b"\xff\xff")):
        garbled = data[:offset] + wrong + data[offset + len(wrong) :]
        assert read_image_header(garbled).upright_size in [(70, 31), (31, 70)]
    assert read_image_header(data[:begin] + b"\0\0\0\0" + data[begin + 4 :]).clockwise_turns == 0
