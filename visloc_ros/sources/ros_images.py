"""Decoding of ROS images with NumPy and OpenCV alone: for the bag reader, the folders and the nodes.

Everything becomes uint8, grey (H, W) or RGB (H, W, 3). EXIF orientation is ignored: the calibrations of cameras are
made for the pixels as the sensor wrote them. Photos are turned upright by the folder that holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Image
from visloc_ros.sources.image_header import read_image_header

_DEPTH_ENCODINGS = ("16UC1", "32FC1")
MAX_SIDE = 8192  # pixels; a larger image is a broken header rather than a camera

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]
Converter = Callable[[NDArray[np.uint8]], Image]


@dataclass(frozen=True)
class _Encoding:
    """The layout of a raw encoding, and its conversion to grey or RGB.

    A pixel has ``channels`` values of the given size; there are ``rows`` of data for a row of the image, more than one
    where planes of colour follow the grey image. Pixels of 16 bits are reduced to 8 bits before they are converted.
    """

    channels: int
    convert: Converter
    bytes_per_channel: int = 1
    rows: float = 1.0

    def num_rows(self, height: int) -> int:
        """Rows of data of an image."""
        return round(self.rows * height)


def _copy(pixels: NDArray[np.uint8]) -> Image:
    return pixels.copy()


def _by_opencv(code: int) -> Converter:
    return lambda pixels: np.asarray(cv2.cvtColor(pixels, code), dtype=np.uint8)


def _from_nv24(planes: NDArray[np.uint8]) -> Image:
    """A grey plane (H, W), then one of the colours of each pixel, (2 H, W): as OpenCV converts its smaller sisters."""
    height = len(planes) // 3
    grey, colours = planes[:height], planes[height:].reshape(height, -1, 2)
    centred = np.dstack([grey, colours]).astype(np.float32) - np.array([16.0, 128.0, 128.0], dtype=np.float32)
    return np.clip(np.rint(cv2.transform(centred, _RGB_FROM_YUV)), 0, 255).astype(np.uint8)


_RGB_FROM_YUV = np.array([[1.164, 0.0, 1.596], [1.164, -0.391, -0.813], [1.164, 2.018, 0.0]])  # ITU-R BT.601, studio

# OpenCV names a Bayer pattern by its second row and column, ROS by its first: rggb is OpenCV's "BG".
_ENCODINGS: dict[str, _Encoding] = {
    "mono8": _Encoding(1, _copy),
    "8UC1": _Encoding(1, _copy),
    "mono16": _Encoding(1, _copy, bytes_per_channel=2),
    "16UC1": _Encoding(1, _copy, bytes_per_channel=2),
    "rgb8": _Encoding(3, _copy),
    "bgr8": _Encoding(3, _by_opencv(cv2.COLOR_BGR2RGB)),
    "8UC3": _Encoding(3, _by_opencv(cv2.COLOR_BGR2RGB)),
    "rgba8": _Encoding(4, _by_opencv(cv2.COLOR_RGBA2RGB)),
    "bgra8": _Encoding(4, _by_opencv(cv2.COLOR_BGRA2RGB)),
    "bayer_rggb8": _Encoding(1, _by_opencv(cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": _Encoding(1, _by_opencv(cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": _Encoding(1, _by_opencv(cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": _Encoding(1, _by_opencv(cv2.COLOR_BayerGB2RGB)),
    "rgb16": _Encoding(3, _copy, bytes_per_channel=2),
    "bgr16": _Encoding(3, _by_opencv(cv2.COLOR_BGR2RGB), bytes_per_channel=2),
    "bayer_rggb16": _Encoding(1, _by_opencv(cv2.COLOR_BayerBG2RGB), bytes_per_channel=2),
    "bayer_bggr16": _Encoding(1, _by_opencv(cv2.COLOR_BayerRG2RGB), bytes_per_channel=2),
    "bayer_gbrg16": _Encoding(1, _by_opencv(cv2.COLOR_BayerGR2RGB), bytes_per_channel=2),
    "bayer_grbg16": _Encoding(1, _by_opencv(cv2.COLOR_BayerGB2RGB), bytes_per_channel=2),
    "nv21": _Encoding(1, _by_opencv(cv2.COLOR_YUV2RGB_NV21), rows=1.5),
    "nv24": _Encoding(1, _from_nv24, rows=3.0),
    "yuv422": _Encoding(2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    "uyvy": _Encoding(2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": _Encoding(2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
    "yuyv": _Encoding(2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2)),
}


def decode_image(
    encoding: str,
    width: int,
    height: int,
    step: int,
    data: Buffer,
    is_bigendian: bool = False,
    depth: BitDepth | None = None,
) -> Image:
    """Decode the fields of a ``sensor_msgs/Image`` to uint8 grey (H, W) or RGB (H, W, 3).

    ``step`` is the length of a row in bytes, padding included. Of 16 bits the upper eight of those in use are
    kept: by ``depth`` those of the camera's images so far, without it of this one. Raises SourceError on an unknown
    encoding, a size beyond 8192 x 8192 or data that do not fill the image exactly.
    """
    layout = _ENCODINGS.get(encoding)
    if layout is None:
        raise SourceError(f"unknown image encoding '{encoding}'; known: {', '.join(_ENCODINGS)}")
    _check_size(width, height)
    raw = np.frombuffer(data, dtype=np.uint8)
    row_bytes = width * layout.channels * layout.bytes_per_channel
    if encoding == "nv24" and step != width:
        raise SourceError(f"rows of an {encoding} image must not be padded: step {step}, width {width}")
    if encoding == "nv21" and height % 2:
        raise SourceError(f"a {encoding} image must have an even height, not {height}")
    _check_rows(encoding, width, layout.num_rows(height), step, row_bytes, len(raw))
    rows = raw.reshape(-1, step)[:, :row_bytes]
    if layout.bytes_per_channel == 2:
        values = np.ascontiguousarray(rows).view(">u2" if is_bigendian else "<u2")
        rows = (depth or BitDepth()).to_8_bit(values)
    return layout.convert(_as_pixels(rows, width, layout.channels))


def _as_pixels(rows: NDArray[np.uint8], width: int, channels: int) -> NDArray[np.uint8]:
    packed = np.ascontiguousarray(rows)
    return packed if channels == 1 else packed.reshape(len(rows), width, channels)


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise SourceError(f"an image of {width}x{height} pixels is empty or beyond {MAX_SIDE}x{MAX_SIDE}")


def _check_rows(encoding: str, width: int, height: int, step: int, row_bytes: int, num_bytes: int) -> None:
    if step < row_bytes:
        raise SourceError(f"step {step} is too short for a row of {width} {encoding} pixels ({row_bytes} bytes)")
    if step * height != num_bytes:
        raise SourceError(f"step {step} x {height} rows = {step * height} bytes, but the image holds {num_bytes}")
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv21") and width % 2:
        raise SourceError(f"a {encoding} image must have an even width, not {width}")
    if encoding.startswith("bayer") and min(width, height) < 4:
        raise SourceError(f"a {encoding} image of {width}x{height} pixels is too small to interpolate")


def decode_compressed(image_format: str, data: Buffer, in_colour: bool = True, depth: BitDepth | None = None) -> Image:
    """Decode a ``sensor_msgs/CompressedImage`` (JPEG or PNG) to uint8 grey (H, W) or RGB (H, W, 3).

    Unless ``in_colour`` they become grey, which takes half the time for a JPEG. The bytes decide what the image is;
    ``image_format`` only marks depth images. 16-bit images are reduced as by ``decode_image``, transparency is dropped.
    Raises SourceError on anything truncated, foreign or too large.
    """
    if "compressedDepth" in image_format:
        raise SourceError(f"'{image_format}' is a depth image: choose the topic of the colour or grey camera")
    header = read_image_header(bytes(data))
    _check_size(header.width, header.height)
    flags = (cv2.IMREAD_ANYCOLOR if in_colour else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_IGNORE_ORIENTATION
    flags |= cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise SourceError(f"the {header.format} image cannot be decoded: {error.err}") from error
    if image is None:
        raise SourceError(f"the {header.format} image of {len(data)} bytes is damaged")
    if image.dtype == np.uint16:
        image = (depth or BitDepth()).to_8_bit(image)
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def encoding_of(message: Any) -> str:
    """The encoding of an Image, or the format of a CompressedImage."""
    return str(message.format if hasattr(message, "format") else message.encoding)


def refuse_depth(topic: str, encoding: str) -> None:
    """Refuse depth images, which decode as grey ones: by their encoding (REP 118) and their topic's name.

    Raises SourceError.
    """
    if encoding.startswith(_DEPTH_ENCODINGS) and "depth" in topic.lower():
        raise SourceError(f"{topic} holds depth images ({encoding}): choose the topic of the colour or grey camera")


def encode_jpeg(image: Image, quality: int = 95) -> bytes:
    """Encode a uint8 grey (H, W) or RGB (H, W, 3) image as JPEG of quality 1-100."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise SourceError(f"an image of shape {image.shape} cannot be encoded as JPEG")
    return bytes(encoded.tobytes())


def encode_png(image: Image) -> bytes:
    """Encode a uint8 grey (H, W) or RGB (H, W, 3) image without loss."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise SourceError(f"an image of shape {image.shape} cannot be encoded as PNG")
    return bytes(encoded.tobytes())
