"""Clusters of points as PRAM (Xue et al. 2024) keeps them: ``SCENE/3D-models``, and ``SCENE/point3D_cluster_*.npy``.

The model has the points, the file a label for their ids; they are in the frame of the poses that the scene's map is
built at, and are other points than the map's, since they are of other features.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.colmap_text import read_model
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import Array
from visloc_search.landmarks.pickled_arrays import read_pickled_integers

_FILES = "point3D_cluster_*.npy"
_MODEL = "3D-models"
_AGAIN = ": download the landmarks again, or set 'clusters' to '' for own ones"


class GivenClusters(NamedTuple):
    """Points (P, 3) and the cluster (P,) of each, from 0 on; ``path`` is their file."""

    path: Path
    points: Array
    clusters: NDArray[np.int64]

    @property
    def num_clusters(self) -> int:
        """Number of clusters that have a point."""
        return len(np.unique(self.clusters))


def read_given_clusters(folder: Path, name: str) -> GivenClusters:
    """Read the clusters of the map of this name, from a folder of scenes or of one scene.

    Raises ConfigError where there are none, or several, MapError where they are broken.
    """
    scenes = (folder / name, folder / name.replace("-", "/"), folder)  # a scene may be below a folder of its building
    files = next((found for scene in scenes if (found := sorted(scene.glob(_FILES)))), [])
    if not files:
        raise ConfigError(
            f"neither {folder / name} nor {folder} has a file {_FILES}: name PRAM's folder of this scene, or of all"
        )
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise ConfigError(f"{files[0].parent} has several clusterings ({names}): take all but one away")
    read = read_pickled_integers(files[0], ("id", "label"), _AGAIN)
    return GivenClusters(files[0], *_placed(files[0], read["id"], read["label"]))


def _placed(path: Path, ids: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Positions and labels of the points that have a label."""
    if len(ids) != len(labels):
        raise MapError(f"{path} has {len(ids)} points and {len(labels)} labels{_AGAIN}")
    ids, labels = ids[labels >= 0], labels[labels >= 0]
    folder = path.parent / _MODEL
    try:
        model = read_model(folder)
    except MapError as error:
        raise MapError(f"the model in {folder}, which {path.name} is of, cannot be read{_AGAIN} ({error})") from error
    try:
        return model.points[model.rows_of(ids)], labels
    except KeyError as error:
        raise MapError(f"{path} names the point {error.args[0]}, which the model in {folder} lacks{_AGAIN}") from error
