"""Images that show every direction at once: no lens projects so, and no camera model here describes them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Image

_PROJECTION = re.compile(rb"GPano:ProjectionType\s*(=\s*[\"']|>)\s*(equirectangular|cylindrical)")
_NUMBER = rb"GPano:%s\s*(?:=\s*[\"']|>)\s*([-+0-9.eE]+)"
_HEAD_BYTES = 1 << 18  # in which photos have their XMP data
_SEAM = 0.3  # most difference of the edges, as share of that of columns half an image apart
_TEXTURE = 5.0  # least spread of grey values along an edge: black bars have none
_POLE = 0.3  # most spread along the first and the last row, as share of the image's
_REMEDY = "cut it into perspective images, as by 'ffmpeg -i a.jpg -vf v360=e:flat:yaw=90 b.jpg'"


@dataclass(frozen=True)
class PanoramaTags:
    """What the XMP data of an equirectangular panorama say of it (Google's GPano), in degrees; None where they do not.

    The heading of its centre is clockwise from true north; its centre is ``pitch_deg`` above the horizon, and its right
    side low where ``roll_deg`` is positive. It ``is_whole`` unless parts of the sphere were cut off.
    """

    heading_deg: float | None = None
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    is_whole: bool = True


def read_panorama_tags(data: bytes) -> PanoramaTags | None:
    """The tags of a photo; None where its XMP data do not name it an equirectangular panorama."""
    head = data[:_HEAD_BYTES]
    found = _PROJECTION.search(head)
    if found is None or found[2] != b"equirectangular":
        return None
    names = ("PoseHeadingDegrees", "PosePitchDegrees", "PoseRollDegrees")
    heading, pitch, roll = (_tag(head, name) for name in names)
    is_whole = all(_covers(head, side) for side in ("Width", "Height"))
    return PanoramaTags(None if heading is None else heading % 360.0, pitch or 0.0, roll or 0.0, is_whole)


def _covers(head: bytes, side: str) -> bool:
    part, full = _tag(head, f"CroppedAreaImage{side}Pixels"), _tag(head, f"FullPano{side}Pixels")
    return part is None or full is None or part == full


def _tag(head: bytes, name: str) -> float | None:
    found = re.search(_NUMBER % name.encode(), head)
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def refuse_named_panorama(data: bytes) -> None:
    """Refuse a photo whose XMP data say that it is a panorama (Google's GPano). Raises SourceError."""
    found = _PROJECTION.search(data, 0, _HEAD_BYTES)
    if found is not None:
        raise SourceError(f"it is a panorama ({found[2].decode()}): {_REMEDY}")


def refuse_panorama(image: Image) -> None:
    """Refuse an equirectangular image (H, 2 H), which programs rarely mark as one. Raises SourceError.

    It goes on over its left and right edges, which have texture, and its first and last rows are a point each.
    """
    height, width = image.shape[:2]
    if width != 2 * height:
        return
    grey = image.astype(np.float32) if image.ndim == 2 else image.mean(axis=2, dtype=np.float32)
    seam = float(np.abs(grey[:, 0] - grey[:, -1]).mean())
    apart = float(np.abs(grey[:, :height] - grey[:, height:]).mean())
    poles = max(float(grey[0].std()), float(grey[-1].std()))
    if seam <= _SEAM * apart and grey[:, 0].std() > _TEXTURE and poles < _POLE * grey.std():
        raise SourceError(f"the images are panoramas of all directions (equirectangular): {_REMEDY}")
