"""Local features of a large map, read image by image when they are needed, and compared with their checksums."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import H5Reader, LocalFeatures, open_file, read_features_of
from visloc_ros.core.files import COPY_AGAIN

_PAGES_BYTES, _LEAST_PAGES = 32 << 20, 64  # of features kept in memory: what a few searches of one place need


class PageCache:
    """Features of images by any keys: those used last, of ``most_bytes`` together, but at least ``least_pages``."""

    def __init__(self, most_bytes: int, least_pages: int) -> None:
        self._most_bytes, self._least_pages = most_bytes, least_pages
        self._pages: OrderedDict[object, LocalFeatures] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: object, read: Callable[[], LocalFeatures]) -> LocalFeatures:
        """The features of a key, read where they are not in memory. Raises what ``read`` does."""
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        features = read()
        with self._lock:
            if key not in self._pages:  # another thread may have read them, too
                self._pages[key] = features
                self._bytes += _bytes_of(features)
            while self._bytes > self._most_bytes and len(self._pages) > self._least_pages:
                self._bytes -= _bytes_of(self._pages.popitem(last=False)[1])
        return features


_PAGES = PageCache(_PAGES_BYTES, _LEAST_PAGES)
"""Of all maps of the process, so that memory stays bounded with several, too."""


def feature_pages(
    path: Path, names: Sequence[str], sizes: Sequence[int], checksums: NDArray[np.uint8]
) -> Callable[[int], LocalFeatures]:
    """A function that reads the local features of an image by row; those used last stay in memory.

    The file stays open: features of the same map are read when another one takes its place on disk. The function raises
    MapError where features are not those that the checksum (M, 32) was made of.
    """
    file, of_map = open_file(path), object()

    def read(row: int) -> LocalFeatures:
        one = read_features_of(H5Reader(path, file), names[row], sizes[row])
        if checksum_of(one) != checksums[row].tobytes():
            raise MapError(f"{path} is damaged at '{names[row]}', or has changed since it was opened{COPY_AGAIN}")
        return one

    return lambda row: _PAGES.get((of_map, row), lambda: read(row))


def _arrays(features: LocalFeatures) -> list[NDArray[Any]]:
    scales_angles = [] if features.scales_angles is None else [features.scales_angles]
    return [features.keypoints, features.scores, features.descriptors, *scales_angles]


def _bytes_of(features: LocalFeatures) -> int:
    return sum(values.nbytes for values in _arrays(features))


def checksum_of(features: LocalFeatures) -> bytes:
    """SHA-256 of the features of an image."""
    turn = f" turned by {features.quarters} quarters" if features.quarters else ""
    digest = hashlib.sha256(f"{features.image_size!r}{turn}".encode())
    for values in _arrays(features):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.digest()
