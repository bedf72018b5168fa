"""``keypoints.npz`` of a view: its local features, as geonavpy's databases have them.

The arrays are those of SuperPoint there: ``keypoints`` (N, 2), ``scores`` (N,) and ``descriptors`` (D, N), and of ours
``image_size`` (width, height) and ``model``. The centre of the top-left pixel is (0, 0) in the file and (0.5, 0.5) in
memory, as COLMAP has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_geo.array_files import COMPUTE_AGAIN, read_arrays
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.errors import GeoError
from visloc_ros.core.feature_files import LocalFeatures, round_to_spread


def write_keypoints(path: Path, features: LocalFeatures, model: str) -> None:
    """Write the features that a model found; descriptors in half precision. Raises OutputError."""
    arrays: dict[str, Any] = {
        "keypoints": (features.keypoints - HALF_PIXEL).astype(np.float32),
        "scores": features.scores.astype(np.float32),
        "descriptors": round_to_spread(features.descriptors.T).astype(np.float16),
        "image_size": np.array(features.image_size, np.int64),
        "model": np.array(model),
    }
    if features.scales_angles is not None:
        arrays["scales_angles"] = features.scales_angles.astype(np.float32)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_keypoints(path: Path, image_size: tuple[int, int] | None = None) -> tuple[LocalFeatures, str]:
    """The features in a file and their model, empty where it names none.

    ``image_size`` serves where the file holds none. Raises GeoError.
    """
    arrays = read_arrays(path)
    try:
        keypoints = np.asarray(arrays["keypoints"], np.float32).reshape(-1, 2) + np.float32(HALF_PIXEL)
        scores = np.asarray(arrays.get("scores", np.ones(len(keypoints))), np.float32).reshape(-1)
        model = str(arrays.get("model", ""))
        descriptors = _rows(np.asarray(arrays["descriptors"]), len(keypoints))
        size = tuple(int(value) for value in np.ravel(arrays["image_size"])) if "image_size" in arrays else image_size
        if size is None or len(size) != 2:
            raise ValueError("it lacks the size of the image")
        scales_angles = np.asarray(arrays["scales_angles"], np.float32) if "scales_angles" in arrays else None
        _check(len(keypoints), keypoints, scores, descriptors)
    except (ValueError, KeyError, TypeError) as error:
        raise GeoError(f"cannot use {path}: {error}{COMPUTE_AGAIN}") from error
    return LocalFeatures(keypoints, scores, descriptors, (size[0], size[1]), scales_angles), model


def count_keypoints(path: Path) -> int:
    """The number of keypoints in a file, whose descriptors are not read. Raises GeoError."""
    arrays = read_arrays(path, "keypoints")
    if "keypoints" not in arrays:
        raise GeoError(f"cannot use {path}: it lacks the keypoints{COMPUTE_AGAIN}")
    return len(arrays["keypoints"])


def _rows(descriptors: NDArray[Any], count: int) -> NDArray[np.floating]:
    """Descriptors (N, D) of (D, N) as written here and by SuperPoint, or of (N, D)."""
    if descriptors.ndim != 2 or count not in descriptors.shape:
        raise ValueError(f"its descriptors are {descriptors.shape} for {count} keypoints")
    rows = descriptors.T if descriptors.shape[1] == count else descriptors
    return np.ascontiguousarray(rows, np.float16 if rows.dtype == np.float16 else np.float32)


def _check(count: int, *arrays: NDArray[np.floating]) -> None:
    if not all(len(one) == count and np.isfinite(one).all() for one in arrays):
        raise ValueError("its arrays differ in length, or hold values that are not finite")
