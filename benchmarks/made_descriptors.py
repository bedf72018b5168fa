"""Global descriptors of a million images, made: eight of each place, ten places of each street, alike accordingly."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

LENGTH = 1024
OF_PLACE, PLACES_OF_STREET = 8, 10
QUERY_NOISE = 1.0  # of photos taken beside them
_PART = 50_000
_STREET, _PLACE, _IMAGE = 0.5, 0.6, 0.6  # what images of a street, of a place and single ones have of their own


def parts(count: int) -> Iterator[NDArray[np.intp]]:
    """The numbers of all images in parts."""
    return (np.arange(first, min(first + _PART, count)) for first in range(0, count, _PART))


def descriptors_of(rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Descriptors (N, LENGTH) of images by their numbers, always the same."""
    places = rows // OF_PLACE
    summed = _STREET * _directions(places // PLACES_OF_STREET, 1)
    summed += _PLACE * _directions(places, 2) + _IMAGE * _directions(rows, 3)
    return unit(summed)


def _directions(keys: NDArray[np.intp], kind: int) -> NDArray[np.float32]:
    """A random unit vector (N, LENGTH) for each key, equal for equal keys."""
    unique, inverse = np.unique(keys, return_inverse=True)
    rows = [np.random.default_rng([kind, key]).standard_normal(LENGTH, np.float32) for key in unique.tolist()]
    return unit(np.stack(rows))[inverse]


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (N, D) of length one."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
