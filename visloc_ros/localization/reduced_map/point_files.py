"""Coordinates of points in files: in single precision from the middle of the map, wherever its origin is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import is_plausible_position
from visloc_ros.localization.reduced_map.array_files import Shape


def coordinate_arrays(xyz: Array) -> dict[str, NDArray[Any]]:
    """The middle ``offset`` (3,), and coordinates ``xyz`` (P, 3) from there, of points (P, 3)."""
    offset = (xyz.min(axis=0) + xyz.max(axis=0)) / 2.0
    return {"offset": offset, "xyz": (xyz - offset).astype(np.float32)}


def expected_coordinates(count: int) -> dict[str, tuple[str, Shape]]:
    """Types and shapes of the arrays of a number of points, as ``read_arrays`` takes them."""
    return {"offset": ("<f8", (3,)), "xyz": ("<f4", (count, 3))}


def coordinates(file: str, arrays: Mapping[str, NDArray[Any]], advice: str) -> Array:
    """The points (P, 3). Raises MapError with ``advice`` at the end of its message."""
    xyz: Array = arrays["xyz"].astype(np.float64) + arrays["offset"]
    if not is_plausible_position(xyz):
        raise MapError(f"{file} holds points that are too far away{advice}")
    return xyz
