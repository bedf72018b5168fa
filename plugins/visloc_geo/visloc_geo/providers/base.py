"""What all sources of views share: their interface, and images that are whole."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from PIL import Image

from visloc_geo.providers.cost import Cost
from visloc_geo.providers.http import HttpClient
from visloc_geo.streets.area import Area
from visloc_geo.view import View
from visloc_ros.core.errors import GeoError

Fetched = list[tuple[View, bytes]]
"""Views with their cameras, and their JPEG images."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,120}|[-_][\w.-]{0,120}")
_JPEG_QUALITY = 95
_LARGEST_PIXELS = 300_000_000


@dataclass(frozen=True)
class Answer:
    """What a request brought: views with their positions, further requests, and why others were left out."""

    views: Sequence[View] = ()
    further: Sequence[str] = ()
    left_out: Sequence[str] = field(default=())


class GoneError(GeoError):
    """An image that its service does not have any more."""


class Provider(Protocol):
    """A source of views, by the name that these have as their source. Its methods can be called by several threads."""

    @property
    def name(self) -> str:
        """The name."""
        ...

    def requests(self, area: Area) -> Iterable[str]:
        """The requests that list the views of an area; one request has the same text in every run."""
        ...

    def search(self, request: str) -> Answer:
        """Send a request. Raises GeoError."""
        ...

    def search_cost(self, request: str) -> Cost:
        """What a request costs."""
        ...

    def targets(self, view: View) -> Sequence[View]:
        """The views to fetch of a view that was found: it, or several of a panorama."""
        ...

    def fetch(self, target: View) -> Fetched:
        """The image of a target, as one or several perspective views, the first of the target's name.

        Raises GoneError where there is none any more, GeoError.
        """
        ...

    def fetch_cost(self, target: View) -> Cost:
        """What fetching a target costs."""
        ...


def safe_name(text: object) -> str:
    """An identifier of a service as the name of a view's folder. Raises GeoError."""
    name = str(text)
    if not _NAME.fullmatch(name):
        raise GeoError(f"'{name[:40]}' cannot be the name of a view")
    return name


def fetch_image(client: HttpClient, url: str, **content: object) -> bytes:
    """A JPEG that can be decoded to its end, asked for twice at most. Raises HttpError, GeoError."""
    for _ in range(2):
        data = client.get(url, **content)  # type: ignore[arg-type]  # as those of get
        try:
            return _as_jpeg(data)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = str(error)
    raise GeoError(f"the image is broken, twice ({reason})")


def _as_jpeg(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > _LARGEST_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are too many")
        image.load()
        if image.format == "JPEG":
            return data
        return encode_jpeg(image)


def encode_jpeg(image: Image.Image) -> bytes:
    """An image as JPEG."""
    written = io.BytesIO()
    image.convert("RGB").save(written, "JPEG", quality=_JPEG_QUALITY)
    return written.getvalue()


def image_size(jpeg: bytes) -> tuple[int, int]:
    """Width and height of an image."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.width, image.height
