"""What images add to the descriptors of their keypoints: those of a map, and of queries in it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.reduced_map.views import Rows
from visloc_ros.localization.strategies.fused.conversion import Conversion, Converter
from visloc_ros.localization.strategies.fused.fusion import Fusion, unit
from visloc_ros.localization.strategies.fused.reducer import Float32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImagePart:
    """The reduced descriptor (D,) of a whole image; where it is that of map images, of which."""

    reduced: Float32
    conversion: Conversion | None = None


@dataclass(frozen=True, eq=False)
class ImageParts:
    """Reduced descriptors (M, D) of a map's images, and how those of queries are made: converted or their own.

    By ``sketches`` (M, S) of the map's images a query's is converted; where there are none, (0, 0), it is not.
    """

    fusion: Fusion
    reduced: Float32
    sketches: NDArray[np.floating]
    converter: Converter | None

    @staticmethod
    def of(
        fusion: Fusion, reduced: Float32, sketches: NDArray[np.floating], point_rows: Sequence[Rows], num_points: int
    ) -> ImageParts:
        """Of images that show the points ``point_rows`` of so many."""
        converter = Converter(sketches, point_rows, num_points) if sketches.size else None
        return ImageParts(fusion, reduced, sketches, converter)

    def of_query(self, descriptor: Float32, name: str = "") -> ImagePart:
        """The part of a query with a descriptor (G,); its name is for the log."""
        if self.converter is None:
            return ImagePart(self.fusion.reduce(descriptor))
        conversion = self.converter.convert(descriptor)
        if not conversion.is_sure:
            words = "%s looks like images of two places: one is more similar by %.3f only"
            _log.info(words, name or "an image", conversion.margin)
        mean = conversion.weights @ self.reduced[conversion.rows]
        return ImagePart(np.asarray(unit(mean) if self.fusion.renormalise else mean, np.float32), conversion)
