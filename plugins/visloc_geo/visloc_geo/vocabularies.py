"""The visual words of VLAD in a database: fixed with its first descriptor, so that views can be added at any time.

For ALIKED they are those of the map of the demo (``maps/demo_room.tar.gz``), which this package brings: streets are
described by words of a room as well as by words of their own. For other features they are learned from the views that
the database has then.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from visloc_geo.array_files import read_arrays
from visloc_geo.database import GeoDatabase
from visloc_geo.keypoint_files import read_keypoints
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import exists, is_file
from visloc_ros.features.vlad import Vlad

_NAME = "vlad.npz"


def open_vlad(database: GeoDatabase) -> Vlad:
    """VLAD with the words of a database. Raises GeoError where it has none."""
    path = database.folder / _NAME
    if not is_file(path):
        raise GeoError(f"there is no {path}: run 'visloc geo global-descriptors {database.folder}'")
    return _read(path)


def open_or_make_vlad(database: GeoDatabase) -> Vlad:
    """VLAD with the words of a database, which gets them by its local features. Raises GeoError, MapError."""
    path = database.folder / _NAME
    if exists(path):
        return _read(path)
    named = (path for path in map(database.keypoints_path, database.names) if is_file(path))
    described = [read_keypoints(path, (0, 0)) for path in named]
    if not described:
        raise GeoError(f"{database.folder} has no view with local features: add photos, or fetch the images")
    shipped = Path(str(files("visloc_geo") / "vocabulary" / f"{described[0][1]}.npz"))
    vlad = _read(shipped) if is_file(shipped) else Vlad.train(features.descriptors for features, _ in described)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, centroids=vlad.centroids)
    return vlad


def _read(path: Path) -> Vlad:
    centroids = read_arrays(path).get("centroids", np.empty(0))
    if centroids.ndim != 2 or not np.isfinite(centroids).all():
        raise GeoError(f"{path} holds no visual words: remove it and all vlad_descriptor.npy, and compute them again")
    return Vlad(centroids)
