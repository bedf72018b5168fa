"""Format and size of a JPEG or PNG from its first bytes, and whether its end is there; nothing is decoded.

Decoders differ in what they make of a truncated JPEG (OpenCV 4 fills the rest with grey without a complaint, OpenCV 5
refuses it), so it is recognised here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from visloc_ros.core.errors import SourceError

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_NOT_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC lie among the SOF markers C0-CF
_STANDALONE = (0x01, *range(0xD0, 0xD9))  # TEM, RST0-7, SOI: markers without a length


@dataclass(frozen=True)
class ImageHeader:
    """What an encoded image says about itself: 'jpeg' or 'png', and its size in pixels."""

    format: str
    width: int
    height: int


def read_image_header(data: bytes) -> ImageHeader:
    """Read format and size of an encoded image. Raises SourceError when it is neither JPEG nor PNG, or truncated."""
    try:
        if data.startswith(_JPEG_START):
            return _read_jpeg_header(data)
        if data.startswith(_PNG_START):
            return _read_png_header(data)
    except (struct.error, IndexError) as error:
        raise SourceError(f"the image is truncated: its header does not fit in {len(data)} bytes") from error
    raise SourceError("the image is empty" if not data else "the image is neither JPEG nor PNG")


def _read_jpeg_header(data: bytes) -> ImageHeader:
    offset = _find_frame_header(data)
    height, width = struct.unpack_from(">HH", data, offset + 5)
    # Scan data escape every 0xFF, so the end marker cannot occur in them; an embedded thumbnail lies before.
    if data.rfind(_JPEG_END, offset) < 0:
        raise SourceError(f"the JPEG image is truncated after {len(data)} bytes")
    return ImageHeader("jpeg", width, height)


def _find_frame_header(data: bytes) -> int:
    """Offset of the start-of-frame marker (ITU T.81, table B.1)."""
    offset = len(_JPEG_START)
    while True:
        if data[offset] != 0xFF:
            raise SourceError("the JPEG image is damaged: a marker is missing in its header")
        marker = data[offset + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS:
            return offset
        if marker == 0xFF:  # fill byte
            offset += 1
        elif marker in _STANDALONE:
            offset += 2
        else:
            offset += 2 + int(struct.unpack_from(">H", data, offset + 2)[0])


def _read_png_header(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    if data.rfind(b"IEND") < 0:
        raise SourceError(f"the PNG image is truncated after {len(data)} bytes")
    return ImageHeader("png", width, height)
