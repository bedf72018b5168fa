"""Features of a frame that are projections of points, without descriptors of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import LocalFeatures


class PointFeatures(LocalFeatures):
    """Keypoints and scores of points by row (N,); their descriptors stay in the table (P, D) of all points.

    A point has one descriptor however many frames show it: copies in each of them would take most of the memory that
    a landmark map saves.
    """

    def __init__(
        self,
        keypoints: NDArray[np.float32],
        scores: NDArray[np.float32],
        table: NDArray[np.float16],
        rows: NDArray[np.int32],
        image_size: tuple[int, int],
    ) -> None:
        # The base class is frozen, and would set the descriptors, too.
        values = {"keypoints": keypoints, "scores": scores, "image_size": image_size, "scales_angles": None}
        self.__dict__.update(values, _table=table, _rows=rows)

    @property
    def descriptors(self) -> NDArray[np.float16]:
        """Those of the points (N, D), copied at each call."""
        return np.asarray(self.__dict__["_table"][self.__dict__["_rows"]])
