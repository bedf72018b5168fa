"""Format, size and orientation of a JPEG, PNG or WebP, and whether its end is there; nothing is decoded.

Decoders treat a truncated JPEG differently (OpenCV 4 silently fills the rest with grey, OpenCV 5 refuses it), so it is
recognised here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image as Photo

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
_ORIENTATION = 0x0112
_KINDS = {3: "H", 4: "I"}  # types of its value: SHORT as the standard has it, or LONG as some programs write it
# Whether the stored image is mirrored left to right, and the clockwise quarter turns after that which show it upright.
_WAYS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 3), 6: (False, 1), 7: (True, 1), 8: (False, 3)}
_PNG_EXIF, _PNG_HEAD = b"eXIf", 8
_WEBP, _RIFF_HEAD = b"WEBP", 8
# Beginnings of what is no photo, or none that is read here: bytes, and where they are.
_OTHERS = (
    (b"II*\0", 0, "a TIFF"),
    (b"MM\0*", 0, "a TIFF"),
    (b"GIF8", 0, "a GIF"),
    (b"BM", 0, "a BMP"),
    (b"avif", 8, "an AVIF"),
    (b"\xff\x0a", 0, "a JPEG XL"),
    (b"JXL ", 4, "a JPEG XL"),
    (b"\xff\x4f\xff\x51", 0, "a JPEG 2000"),
    (b"jP  ", 4, "a JPEG 2000"),
    (b"\0\0\0\x01", 0, "video (H.264, H.265)"),
    (b"\0\0\x01", 0, "video (H.264, H.265)"),
)


@dataclass(frozen=True)
class ImageHeader:
    """The header of an encoded image: 'jpeg', 'png' or 'webp', and the size of its stored pixels.

    The orientation in its EXIF data says what shows it upright: to mirror it left to right, where it ``is_mirrored``,
    and then to turn it by ``clockwise_turns`` quarter turns.
    """

    format: str
    width: int
    height: int
    clockwise_turns: int = 0
    is_mirrored: bool = False

    @property
    def is_upright(self) -> bool:
        """Whether the image is shown as it is stored."""
        return not self.clockwise_turns and not self.is_mirrored

    @property
    def as_stored(self) -> ImageHeader:
        """The header without the orientation."""
        return replace(self, clockwise_turns=0, is_mirrored=False)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height of the image shown upright."""
        return (self.height, self.width) if self.clockwise_turns % 2 else (self.width, self.height)


def read_image_header(data: bytes) -> ImageHeader:
    """Read the header of an encoded image.

    Raises SourceError when it is no JPEG, PNG or WebP, truncated, or of a size that no camera has.
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
        if data.startswith(b"RIFF") and data[_RIFF_HEAD:].startswith(_WEBP):
            return _read_webp_header(data)
    except (struct.error, IndexError) as error:
        raise SourceError(f"the image is truncated: its header does not fit in {len(data)} bytes") from error
    if not data:
        raise SourceError("the image is empty")
    known = next((name for start, place, name in _OTHERS if data.startswith(start, place)), "")
    raise SourceError(f"the image is neither JPEG nor PNG{f', but {known}: convert it' if known else ''}")


def _read_jpeg_header(data: bytes) -> ImageHeader:
    orientation, offset = 0, len(_JPEG_START)
    for marker, offset in _segments(data):
        if marker == _APP1 and data.startswith(_EXIF_START, offset + 4):
            orientation = _read_orientation(data, offset + 4 + len(_EXIF_START))
    height, width = struct.unpack_from(">HH", data, offset + 5)
    # Scan data escape every 0xFF, so the end marker cannot occur in them; an embedded thumbnail lies before.
    if data.rfind(_JPEG_END, offset) < 0:
        raise SourceError(f"the JPEG image is truncated after {len(data)} bytes")
    return _header("jpeg", width, height, orientation)


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
            tag, kind = struct.unpack_from(f"{order}HH", data, entry)
            if tag == _ORIENTATION and kind in _KINDS:
                return int(struct.unpack_from(f"{order}{_KINDS[kind]}", data, entry + 8)[0])
    except struct.error:  # the directory lies beyond the file: garbled EXIF data spoil no image
        return 0
    return 0


def _read_png_header(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    if data.rfind(b"IEND") < 0:
        raise SourceError(f"the PNG image is truncated after {len(data)} bytes")
    return _header("png", width, height, _png_orientation(data))


def _png_orientation(data: bytes) -> int:
    """The orientation in the eXIf chunk of a PNG (PNG 1.5 extensions); 0 where it is missing."""
    offset = _PNG_HEAD
    while offset + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        if kind == _PNG_EXIF:
            return _read_orientation(data, offset + 8)
        offset += 12 + int(length)
    return 0


def _read_webp_header(data: bytes) -> ImageHeader:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < _RIFF_HEAD + length:
        raise SourceError(f"the WebP image is truncated after {len(data)} bytes")
    try:
        with Photo.open(BytesIO(data), formats=("WEBP",)) as photo:
            return _header("webp", *photo.size, int(photo.getexif().get(_ORIENTATION, 0)))
    except (OSError, ValueError, SyntaxError, Photo.DecompressionBombError) as error:
        raise SourceError(f"the WebP image is damaged: {error}") from error


def _header(kind: str, width: int, height: int, orientation: int) -> ImageHeader:
    is_mirrored, turns = _WAYS.get(orientation, (False, 0))
    return ImageHeader(kind, width, height, turns, is_mirrored)
