"""The query's descriptor replaced by that of the most similar map image, in which the light is that of the map.

After FUSELOC (arXiv 2408.12037). It is one hard decision: a wrong image misleads all keypoints, so that it is left
where an image of another place is about as similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.reduced_map.views import Covisibility, Rows
from visloc_ros.localization.strategies.fused.reducer import Float32

LEAST_MARGIN = 0.05
"""Of dot products of unit descriptors: what is as similar elsewhere as to a twentieth may be the right place."""


@dataclass(frozen=True)
class Conversion:
    """Row of the most similar map image, and by how much it is more similar than the best one that shows other points.

    The margin is infinite where no image shows other points.
    """

    row: int
    margin: float

    @property
    def is_sure(self) -> bool:
        """Whether the image should stand for the query."""
        return self.margin >= LEAST_MARGIN


class Converter:
    """Finds the most similar map image by descriptors (M, G) of whole images; ``point_rows`` are what each shows."""

    def __init__(self, descriptors: NDArray[np.floating], point_rows: Sequence[Rows], num_points: int) -> None:
        self._descriptors = np.ascontiguousarray(descriptors, np.float32)
        self._covisibility = Covisibility(point_rows, num_points)

    def convert(self, descriptor: Float32) -> Conversion:
        """What to take for a query's descriptor (G,)."""
        similarity = self._descriptors @ descriptor
        row = int(similarity.argmax())
        elsewhere = np.ones(len(similarity), bool)
        elsewhere[[row, *self._covisibility.rank(row, len(similarity))]] = False
        margin = float(similarity[row] - similarity[elsewhere].max()) if elsewhere.any() else np.inf
        return Conversion(row, margin)
