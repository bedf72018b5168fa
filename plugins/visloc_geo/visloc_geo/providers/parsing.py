"""What services say about views, checked: a view that cannot be right is left out with the reason, and no other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from visloc_geo.metadata import metadata_text
from visloc_geo.view import View
from visloc_ros.core.errors import VislocError
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition

UNUSABLE = (VislocError, KeyError, TypeError, ValueError, ArithmeticError, OSError)
"""What parsing raises for values that are missing, of another type, or beyond all bounds."""


def parse_views(found: Iterable[Any], parse: Callable[[Any], View]) -> tuple[list[View], list[str]]:
    """The views of an answer's items that can be stored, and why the others are left out."""
    views, left_out = [], []
    for values in found:
        try:
            view = parse(values)
            metadata_text(view, EnuFrame(0.0, 0.0))
            views.append(view)
        except UNUSABLE as error:
            name = values.get("id") if isinstance(values, dict) else values
            reason = error if isinstance(error, VislocError) else f"its metadata cannot be used ({error!r})"
            left_out.append(f"{str(name)[:40]}: {str(reason)[:200]}")
    return views, left_out


def position_of(latitude: Any, longitude: Any, altitude: Any = None, sigma: float | None = None) -> GeoPosition:
    """A position in degrees and metres. Raises ValueError, TypeError."""
    lat, lng = float(latitude), float(longitude)
    if not (abs(lat) <= 90.0 and abs(lng) <= 180.0):
        raise ValueError(f"{lat}, {lng} is no position")
    return GeoPosition(lat, lng, None if altitude is None else float(altitude), sigma)


def heading_of(value: Any) -> float | None:
    """A heading from 0 to 360 degrees; None without one, as negative numbers mean. Raises ValueError, TypeError."""
    if value is None or float(value) < 0.0:
        return None
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} is no heading")
    return float(value) % 360.0
