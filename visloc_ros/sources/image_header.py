"""Format, size and orientation of a JPEG or PNG from its first bytes, and whether its end is there; nothing is decoded.

Decoders treat a truncated JPEG differently (OpenCV 4 silently fills the rest with grey, OpenCV 5 refuses it), so it is
recognised here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from visloc_ros.core.errors import SourceError

MOST_PIXELS = 1 << 28
"""More than any camera has: a few kilobytes can unpack to as many."""

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_NOT_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)  # DHT, JPG and DAC lie among the SOF markers C0-CF
_STANDALONE = (0x01, *range(0xD0, 0xD9))  # TEM, RST0-7, SOI: markers without a length
_APP1, _EXIF_START = 0xE1, b"Exif\0\0"
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION, _SHORT = 0x0112, 3  # the tag, and the type that its value has
_CLOCKWISE_TURNS = {6: 1, 3: 2, 8: 3}  # the others are upright, or mirrored, which no camera writes


@dataclass(frozen=True)
class ImageHeader:
    """The header of an encoded image: 'jpeg' or 'png', and the size of its stored pixels.

    ``clockwise_turns`` is the number of quarter turns that show it upright (the orientation in a JPEG's EXIF data).
    """

    format: str
    width: int
    height: int
    clockwise_turns: int = 0

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the image shown upright."""
        return (self.height, self.width) if self.clockwise_turns % 2 else (self.width, self.height)


def read_image_header(data: bytes) -> ImageHeader:
    """Read the header of an encoded image.

    Raises SourceError when it is neither JPEG nor PNG, truncated, or of a size that no camera has.
    """
    header = _read_header(data)
    if not 0 < header.width * header.height <= MOST_PIXELS:
        raise SourceError(f"an image of {header.width}x{header.height} pixels is none of a camera")
    return header


def has_16_bits(data: bytes) -> bool:
    """Whether an image is a PNG of 16 bits a channel."""
    return data.startswith(_PNG_START) and data[24:25] == b"\x10"


def _read_header(data: bytes) -> ImageHeader:
    try:
        if data.startswith(_JPEG_START):
            return _read_jpeg_header(data)
        if data.startswith(_PNG_START):
            return _read_png_header(data)
    except (struct.error, IndexError) as error:
        raise SourceError(f"the image is truncated: its header does not fit in {len(data)} bytes") from error
    raise SourceError("the image is empty" if not data else "the image is neither JPEG nor PNG")


def _read_jpeg_header(data: bytes) -> ImageHeader:
    turns, offset = 0, len(_JPEG_START)
    for marker, offset in _segments(data):
        if marker == _APP1 and data.startswith(_EXIF_START, offset + 4):
            turns = _CLOCKWISE_TURNS.get(_read_orientation(data, offset + 4 + len(_EXIF_START)), 0)
    height, width = struct.unpack_from(">HH", data, offset + 5)
    # Scan data escape every 0xFF, so the end marker cannot occur in them; an embedded thumbnail lies before.
    if data.rfind(_JPEG_END, offset) < 0:
        raise SourceError(f"the JPEG image is truncated after {len(data)} bytes")
    return ImageHeader("jpeg", width, height, turns)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and offset of the segments up to the start of the frame, included (ITU T.81, table B.1)."""
    offset = len(_JPEG_START)
    while True:
        if data[offset] != 0xFF:
            raise SourceError("the JPEG image is damaged: a marker is missing in its header")
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        yield marker, offset
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS:
            return
        offset += 2 if marker in _STANDALONE else 2 + int(struct.unpack_from(">H", data, offset + 2)[0])


def _read_orientation(data: bytes, begin: int) -> int:
    """The orientation in the first directory of EXIF data (TIFF 6.0, section 2); 0 where it is missing."""
    order = _BYTE_ORDERS.get(data[begin : begin + 4])
    if order is None:
        return 0
    try:
        directory = begin + int(struct.unpack_from(f"{order}I", data, begin + 4)[0])
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, entry)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return int(value)
    except struct.error:  # the directory lies beyond the file: garbled EXIF data spoil no image
        return 0
    return 0


def _read_png_header(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    if data.rfind(b"IEND") < 0:
        raise SourceError(f"the PNG image is truncated after {len(data)} bytes")
    return ImageHeader("png", width, height)
