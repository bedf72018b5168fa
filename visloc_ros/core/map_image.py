"""A reference image of a map, its features in memory or read where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3

NO_POINT = -1


@dataclass(frozen=True, eq=False)
class MapImage:
    """A reference image: its pose, camera, features, and for every keypoint the row of its 3D point or NO_POINT."""

    name: str
    map_from_camera: SE3
    camera: pycolmap.Camera
    features: LocalFeatures
    point_rows: NDArray[np.int32]


class PagedImage(MapImage):
    """A reference image of a large map; ``features`` may be a function that reads them, at each access.

    Reading raises MapError where the map's file has changed or is damaged.
    """

    def __init__(
        self,
        name: str,
        map_from_camera: SE3,
        camera: pycolmap.Camera,
        features: LocalFeatures | Callable[[], LocalFeatures],
        point_rows: NDArray[np.int32],
    ) -> None:
        read = (lambda: features) if isinstance(features, LocalFeatures) else features
        values = {"name": name, "map_from_camera": map_from_camera, "camera": camera, "point_rows": point_rows}
        self.__dict__.update(values, _read=read)  # the class is frozen

    @property
    def features(self) -> LocalFeatures:
        """Its features."""
        features: LocalFeatures = self.__dict__["_read"]()
        return features
