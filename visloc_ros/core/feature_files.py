"""hloc's HDF5 files: local features and global descriptors, one group per image.

hloc puts the centre of the top-left pixel at (0, 0), COLMAP at (0.5, 0.5): keypoints are shifted here, and nowhere
else. Descriptors are stored (D, N) in half precision, as hloc does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.errors import MapError

_MAX_DIMENSION = 1 << 17


@dataclass(frozen=True, eq=False)
class LocalFeatures:
    """Keypoints (N, 2) float32 in COLMAP pixels, scores (N,) float32, descriptors (N, D), image size (w, h)."""

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.floating]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.keypoints)


def write_local_features(path: Path, features: Mapping[str, LocalFeatures]) -> None:
    """Write the local features of images by name."""
    with h5py.File(path, "w") as file:
        for name, one in features.items():
            group = file.create_group(name)
            group["keypoints"] = (one.keypoints - HALF_PIXEL).astype(np.float32)
            group["scores"] = one.scores.astype(np.float16)
            group["descriptors"] = np.ascontiguousarray(one.descriptors.T, dtype=np.float16)
            group["image_size"] = np.array(one.image_size, dtype=np.int64)


def read_local_features(path: Path, names: Sequence[str], sizes: Sequence[int]) -> list[LocalFeatures]:
    """Read the local features of images whose keypoint counts are known. Raises MapError naming the image."""
    with _open(path) as file:
        return [_read_features(path, file, name, size) for name, size in zip(names, sizes, strict=True)]


def write_global_descriptors(path: Path, descriptors: Mapping[str, NDArray[np.floating]]) -> None:
    """Write one global descriptor (G,) per image."""
    with h5py.File(path, "w") as file:
        for name, descriptor in descriptors.items():
            file.create_group(name)["global_descriptor"] = descriptor.astype(np.float16)


def read_global_descriptors(path: Path, names: Sequence[str]) -> NDArray[np.float32]:
    """Read global descriptors (M, G) of images in the order of their names. Raises MapError naming the image."""
    with _open(path) as file:
        rows = [_read(path, file, f"{name}/global_descriptor", (None,)) for name in names]
    if len({len(row) for row in rows}) > 1:
        raise MapError(f"{path} mixes global descriptors of several lengths: rebuild the map")
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), np.float32)


def write_centroids(path: Path, centroids: NDArray[np.floating]) -> None:
    """Write the VLAD codebook (C, D)."""
    with h5py.File(path, "w") as file:
        file["centroids"] = centroids.astype(np.float32)


def read_centroids(path: Path) -> NDArray[np.float32]:
    """Read the VLAD codebook (C, D). Raises MapError."""
    with _open(path) as file:
        return _read(path, file, "centroids", (None, None)).astype(np.float32)


def _read_features(path: Path, file: h5py.File, name: str, size: int) -> LocalFeatures:
    keypoints = _read(path, file, f"{name}/keypoints", (size, 2)).astype(np.float32) + np.float32(HALF_PIXEL)
    descriptors = _read(path, file, f"{name}/descriptors", (None, size))
    has_scores = f"{name}/scores" in file
    scores = _read(path, file, f"{name}/scores", (size,)) if has_scores else np.ones(size)
    width, height = _read(path, file, f"{name}/image_size", (2,))
    return LocalFeatures(
        keypoints, scores.astype(np.float32), np.ascontiguousarray(descriptors.T), (int(width), int(height))
    )


def _read(path: Path, file: h5py.File, key: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
    dataset = _dataset(path, file, key)
    fits = len(dataset.shape) == len(shape) and all(
        actual == wanted if wanted is not None else actual <= _MAX_DIMENSION
        for actual, wanted in zip(dataset.shape, shape, strict=True)
    )
    if not fits or dataset.dtype.kind not in "fiu":
        wanted_text = "x".join("any" if side is None else str(side) for side in shape)
        raise MapError(
            f"{path}: '{key}' is {dataset.dtype} {dataset.shape}, expected numbers {wanted_text} as in the COLMAP "
            "model: the files do not belong together, rebuild the map"
        )
    try:
        values: NDArray[Any] = dataset[()]
    except OSError as error:
        raise MapError(f"{path} is truncated or broken at '{key}': copy the map again or rebuild it") from error
    if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
        raise MapError(f"{path}: '{key}' holds values that are not finite: rebuild the map")
    return values


def _dataset(path: Path, file: h5py.File, key: str) -> h5py.Dataset:
    try:
        dataset = file.get(key)
    except (OSError, RuntimeError) as error:
        raise MapError(f"{path} is truncated or broken at '{key}': copy the map again or rebuild it") from error
    if not isinstance(dataset, h5py.Dataset):
        raise MapError(f"{path} lacks '{key}': it does not belong to this COLMAP model, rebuild the map")
    # A map is data of its own: links and virtual or external storage could make it read other files.
    if dataset.file.filename != file.filename or dataset.is_virtual or dataset.external:
        raise MapError(f"{path}: '{key}' refers to another file: do not trust this map")
    return dataset


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        what = "is missing" if not path.exists() else f"is truncated or broken ({error})"
        raise MapError(f"{path} {what}: copy the map again or rebuild it") from error
    with file:
        yield file
