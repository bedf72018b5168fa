"""Local features of a large map, read image by image when they are needed, and compared with their checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import H5Reader, LocalFeatures, open_file, read_features_of
from visloc_ros.core.files import COPY_AGAIN

_PAGES_BYTES, _LEAST_PAGES = 64 << 20, 64  # of features kept in memory: what a few searches of one place need
_BYTES_A_KEYPOINT = 2 * 128 + 12  # of the usual descriptors


def feature_pages(
    path: Path, names: Sequence[str], sizes: Sequence[int], checksums: NDArray[np.uint8]
) -> Callable[[int], LocalFeatures]:
    """A function that reads the local features of an image by row; the last ones stay in memory.

    The file stays open: features of the same map are read when another one takes its place on disk. The function raises
    MapError where features are not those that the checksum (M, 32) was made of.
    """
    file = open_file(path)

    def read(row: int) -> LocalFeatures:
        one = read_features_of(H5Reader(path, file), names[row], sizes[row])
        if checksum_of(one) != checksums[row].tobytes():
            raise MapError(f"{path} is damaged at '{names[row]}', or has changed since it was opened{COPY_AGAIN}")
        return one

    bytes_an_image = _BYTES_A_KEYPOINT * (1 + sum(sizes) // max(1, len(sizes)))
    return lru_cache(maxsize=max(_LEAST_PAGES, _PAGES_BYTES // bytes_an_image))(read)


def checksum_of(features: LocalFeatures) -> bytes:
    """SHA-256 of the features of an image."""
    digest = hashlib.sha256(repr(features.image_size).encode())
    scales_angles = () if features.scales_angles is None else (features.scales_angles,)
    for values in (features.keypoints, features.scores, features.descriptors, *scales_angles):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.digest()
