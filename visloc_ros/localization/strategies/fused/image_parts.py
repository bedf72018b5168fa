"""The part that images, of a map and queries in it, add to the descriptors of their keypoints."""

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
    """The reduced descriptor (D,) of a whole image, and, where it is taken from map images, which these are."""

    reduced: Float32
    conversion: Conversion | None = None


@dataclass(frozen=True, eq=False)
class ImageParts:
    """Reduced descriptors (M, D) of a map's images, and how to make those of queries.

    ``sketches`` (M, S) of the map's images serve to convert a query's descriptor; without any, (0, 0), it stays.
    """

    fusion: Fusion
    reduced: Float32
    sketches: NDArray[np.floating]
    converter: Converter | None

    @staticmethod
    def of(
        fusion: Fusion, reduced: Float32, sketches: NDArray[np.floating], point_rows: Sequence[Rows], num_points: int
    ) -> ImageParts:
        """Make them from images that show the points ``point_rows``, of ``num_points``."""
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
