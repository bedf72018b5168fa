"""Files of the global descriptors of views: one in the folder of each view."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_geo.array_files import COMPUTE_AGAIN, read_arrays
from visloc_geo.database import GeoDatabase
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import is_file
from visloc_ros.core.map_layout import VLAD

Float32 = NDArray[np.float32]


def load_descriptors(database: GeoDatabase, model: str = VLAD) -> tuple[list[str], Float32]:
    """Names of the views that a model has described, and their unit vectors (N, G). Raises GeoError without any."""
    names, rows = [], []
    for name in database.names:
        path = descriptor_file(database, name, model)
        if path is not None:
            names.append(name)
            rows.append(_read(path))
    if not names:
        raise GeoError(
            f"no view of {database.folder} has a descriptor '{model}': run 'visloc geo global-descriptors "
            f"{database.folder} --descriptor-type {model}'"
        )
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise GeoError(f"the descriptors '{model}' in {database.folder} have {sorted(lengths)} values: remove the old")
    matrix = np.stack(rows)
    return names, np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12), np.float32)


def descriptor_file(database: GeoDatabase, name: str, model: str) -> Path | None:
    """The file of a view's descriptor: .npy as written here, or .npz as others do."""
    path = database.descriptor_path(name, model)
    return next((one for one in (path, path.with_suffix(".npz")) if is_file(one)), None)


def _read(path: Path) -> Float32:
    """The values (G,) of a file. Raises GeoError."""
    arrays = list(read_arrays(path).values())
    is_one = len(arrays) == 1 and arrays[0].dtype.kind in "fiu"
    vector = np.asarray(arrays[0], np.float32).ravel() if is_one else np.empty(0, np.float32)
    if not len(vector) or not np.isfinite(vector).all():
        raise GeoError(f"cannot use {path}: it is no vector of finite numbers{COMPUTE_AGAIN}")
    return vector
