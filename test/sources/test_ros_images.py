import cv2
import numpy as np
import pytest
from source_data import colour_image, encode

from visloc_ros.core.errors import SourceError
from visloc_ros.sources import open_source
from visloc_ros.sources.ros_images import decode_compressed, decode_image, encode_jpeg

RGB = np.random.default_rng(3).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = RGB[..., 0].copy()
ALPHA = np.full((6, 8, 1), 77, dtype=np.uint8)
RED, GREEN, BLUE = 200, 120, 40


def mosaic(pattern: str) -> np.ndarray:
    """Bayer image (6, 8) of one colour; the pattern names the first 2x2 pixels row by row."""
    value = {"r": RED, "g": GREEN, "b": BLUE}
    tile = np.array([value[letter] for letter in pattern], dtype=np.uint8).reshape(2, 2)
    return np.tile(tile, (3, 4))


def with_padding(pixels: np.ndarray, padding: int) -> tuple[int, bytes]:
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return padded.shape[1], padded.tobytes()


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels", "expected"),
    [
        ("mono8", GREY, GREY),
        ("8UC1", GREY, GREY),
        ("rgb8", RGB, RGB),
        ("bgr8", RGB[..., ::-1], RGB),
        ("8UC3", RGB[..., ::-1], RGB),
        ("rgba8", np.concatenate([RGB, ALPHA], axis=2), RGB),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], axis=2), RGB),
    ],
)
def test_plain_encodings_are_exact_whatever_the_row_length(encoding, pixels, expected, padding):
    step, data = with_padding(pixels, padding)
    decoded = decode_image(encoding, 8, 6, step, data)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(("byte_order", "is_bigendian"), [("<u2", False), (">u2", True)])
def test_mono16_keeps_its_upper_byte_in_either_byte_order(byte_order, is_bigendian):
    values = (GREY.astype(np.uint16) << 8 | 0x5A).astype(byte_order)
    step, data = with_padding(values.view(np.uint8), 3)
    np.testing.assert_array_equal(decode_image("mono16", 8, 6, step, data, is_bigendian), GREY)


@pytest.mark.parametrize(("byte_order", "is_bigendian"), [("<u2", False), (">u2", True)])
@pytest.mark.parametrize(("encoding", "order"), [("rgb16", 1), ("bgr16", -1)])
def test_colours_of_16_bits_keep_their_upper_bytes(encoding, order, byte_order, is_bigendian):
    values = (RGB[..., ::order].astype(np.uint16) << 8 | 0x5A).astype(byte_order)
    step, data = with_padding(values.reshape(6, -1).view(np.uint8), 4)
    np.testing.assert_array_equal(decode_image(encoding, 8, 6, step, data, is_bigendian), RGB)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_a_camera_of_12_bits_is_as_bright_as_one_of_8(encoding):
    step, data = with_padding((GREY.astype("<u2") << 4 | 0x7).view(np.uint8), 0)
    np.testing.assert_array_equal(decode_image(encoding, 8, 6, step, data), GREY)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_of_16_bits_are_as_those_of_8(pattern):
    step, data = with_padding((mosaic(pattern).astype("<u2") << 8 | 0x5A).view(np.uint8), 0)
    decoded = decode_image(f"bayer_{pattern}16", 8, 6, step, data)
    np.testing.assert_array_equal(decoded, np.full((6, 8, 3), (RED, GREEN, BLUE), dtype=np.uint8))


@pytest.mark.parametrize(
    ("encoding", "rows", "order", "padding"), [("nv21", 3, "vu", 0), ("nv21", 3, "vu", 5), ("nv24", 12, "uv", 0)]
)
def test_planes_of_colour_behind_the_grey_image(encoding, rows, order, padding):
    """ITU-R BT.601, studio range, as above; blue is Y 41, U 240, V 110."""
    for luma, u, v, expected in ((235, 128, 128, (255,) * 3), (81, 90, 240, (255, 0, 0)), (41, 240, 110, (0, 0, 255))):
        grey = np.full((6, 8), luma, dtype=np.uint8)
        colours = np.tile(np.array([{"u": u, "v": v}[letter] for letter in order], dtype=np.uint8), (rows, 4))
        step, data = with_padding(np.concatenate([grey, colours]), padding)
        decoded = decode_image(encoding, 8, 6, step, data)
        np.testing.assert_allclose(decoded, np.broadcast_to(expected, (6, 8, 3)), atol=2)


def test_each_pixel_of_nv24_has_its_own_colour():
    colours = np.tile(np.array([[90, 240], [240, 110]], dtype=np.uint8).reshape(-1), (6, 4)).reshape(12, 8)
    grey = np.tile(np.array([81, 41], dtype=np.uint8), (6, 4))
    decoded = decode_image("nv24", 8, 6, 8, np.concatenate([grey, colours]).tobytes())
    np.testing.assert_allclose(decoded[:, ::2], np.broadcast_to((255, 0, 0), (6, 4, 3)), atol=2)
    np.testing.assert_allclose(decoded[:, 1::2], np.broadcast_to((0, 0, 255), (6, 4, 3)), atol=2)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_of_one_colour_give_that_colour(pattern):
    decoded = decode_image(f"bayer_{pattern}8", 8, 6, 8, mosaic(pattern).tobytes())
    np.testing.assert_array_equal(decoded, np.full((6, 8, 3), (RED, GREEN, BLUE), dtype=np.uint8))


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv_orders(encoding, order):
    """ITU-R BT.601, studio range: white is Y 235, black 16; Y 81, U 90, V 240 is pure red."""
    for luma, u, v, expected in ((235, 128, 128, (255,) * 3), (16, 128, 128, (0,) * 3), (81, 90, 240, (255, 0, 0))):
        value = {"y": luma, "u": u, "v": v}
        row = bytes(value[letter] for letter in order) * 4
        decoded = decode_image(encoding, 8, 6, 16, row * 6)
        np.testing.assert_allclose(decoded, np.broadcast_to(expected, (6, 8, 3)), atol=2)


def test_decoded_images_do_not_share_the_message_buffer():
    buffer = bytearray(GREY.tobytes())
    decoded = decode_image("mono8", 8, 6, 8, buffer)
    buffer[:] = bytes(len(buffer))
    np.testing.assert_array_equal(decoded, GREY)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("mono12", 8, 6, 8, bytes(48)), "unknown image encoding 'mono12'; known: mono8"),
        (("mono8", 0, 6, 0, b""), "0x6 pixels is empty"),
        (("mono8", 8, 9000, 8, bytes(72000)), "beyond 8192x8192"),
        (("rgb8", 8, 6, 8, bytes(48)), "step 8 is too short"),
        (("mono8", 8, 6, 8, bytes(47)), "48 bytes, but the image holds 47"),
        (("mono8", 8, 6, 8, bytes(49)), "48 bytes, but the image holds 49"),
        (("yuv422", 7, 6, 14, bytes(84)), "even width"),
        (("bayer_rggb8", 2, 2, 2, bytes(4)), "too small"),
        (("bayer_rggb16", 2, 2, 4, bytes(8)), "too small"),
        (("nv21", 8, 5, 8, bytes(60)), "even height"),
        (("nv21", 8, 6, 8, bytes(48)), "72 bytes, but the image holds 48"),
        (("nv24", 8, 6, 8, bytes(96)), "144 bytes, but the image holds 96"),
        (("nv24", 8, 6, 9, bytes(162)), "must not be padded"),
    ],
)
def test_malformed_images_are_refused_with_the_reason(fields, message):
    with pytest.raises(SourceError, match=message):
        decode_image(*fields)


def test_compressed_png_is_exact_in_colour_grey_16_bit_and_with_alpha():
    np.testing.assert_array_equal(decode_compressed("png", encode(RGB, ".png")), RGB)
    np.testing.assert_array_equal(decode_compressed("png", encode(GREY, ".png")), GREY)
    deep = cv2.imencode(".png", GREY.astype(np.uint16) << 8 | 0x5A)[1].tobytes()
    np.testing.assert_array_equal(decode_compressed("mono16; png compressed ", deep), GREY)
    with_alpha = cv2.imencode(".png", np.concatenate([RGB[..., ::-1], ALPHA], axis=2))[1].tobytes()
    np.testing.assert_array_equal(decode_compressed("png", with_alpha), RGB)


def test_jpeg_round_trip_keeps_colour_order_and_grey():
    image = colour_image(1)
    assert np.abs(decode_compressed("jpeg", encode_jpeg(image, 98)).astype(int) - image).mean() < 3
    grey = decode_compressed("rgb8; jpeg compressed bgr8", encode_jpeg(image[..., 0].copy()))
    assert grey.shape == image.shape[:2]
    assert np.abs(grey.astype(int) - image[..., 0]).mean() < 2


def test_compressed_images_become_grey_where_no_colours_are_wanted():
    image = colour_image(1)
    grey = decode_compressed("jpeg", encode_jpeg(image, 98), in_colour=False)
    assert np.abs(grey.astype(int) - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)).mean() < 2
    assert decode_compressed("png", encode(RGB, ".png"), in_colour=False).shape == RGB.shape[:2]
    np.testing.assert_array_equal(decode_compressed("png", encode(GREY, ".png"), in_colour=False), GREY)


def test_quality_changes_the_size():
    assert len(encode_jpeg(colour_image(1), 30)) < len(encode_jpeg(colour_image(1), 95))


@pytest.mark.parametrize(
    ("image_format", "data", "message"),
    [
        ("jpeg", b"", "empty"),
        ("jpeg", encode(colour_image(0), ".jpg")[:-40], "truncated"),
        ("jpeg", b"not an image at all", "neither JPEG nor PNG"),
        ("16UC1; compressedDepth png", encode(GREY, ".png"), "depth image"),
        ("png", encode(RGB, ".png")[:60] + bytes(20) + b"IEND", "damaged"),
    ],
)
def test_damaged_compressed_images_are_refused(image_format, data, message):
    with pytest.raises(SourceError, match=message):
        decode_compressed(image_format, data)


def test_a_header_that_promises_a_huge_image_is_refused_before_decoding():
    data = bytearray(encode(RGB, ".png"))
    data[16:24] = (10000).to_bytes(4, "big") * 2
    with pytest.raises(SourceError, match="beyond 8192x8192"):
        decode_compressed("png", bytes(data))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_fewer_than_16_bits_in_a_message_or_a_png(bits):
    values = GREY.astype(np.uint16) << (bits - 8)
    values[0, 0] = (1 << bits) - 1
    expected = GREY.copy()
    expected[0, 0] = 255
    np.testing.assert_array_equal(decode_image("mono16", 8, 6, 16, values.tobytes()), expected)
    encoded = cv2.imencode(".png", values)[1].tobytes()
    np.testing.assert_array_equal(decode_compressed("png", encoded), expected)
    np.testing.assert_array_equal(decode_compressed("png", encoded, in_colour=False), expected)


def test_a_folder_has_one_bit_depth(tmp_path):
    for index, brightness in enumerate((900, 4000, 1500)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64), brightness, np.uint16))
    assert [int(frame.image[0, 0]) for frame in open_source(tmp_path)] == [900 >> 4, 4000 >> 4, 1500 >> 4]
