"""A facade that stands in two streets: local descriptors that are the same but for noise, images that are not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.results_file import Figures
from visloc_ros.localization.strategies.fused.codebook import Codebook
from visloc_ros.localization.strategies.fused.config import FusedConfig
from visloc_ros.localization.strategies.fused.conversion import sketch
from visloc_ros.localization.strategies.fused.fused_map import smooth
from visloc_ros.localization.strategies.fused.fusion import FusedQuery, Fusion, unit
from visloc_ros.localization.strategies.fused.image_parts import ImageParts
from visloc_ros.localization.strategies.fused.point_index import ExactIndex
from visloc_ros.localization.strategies.fused.reducer import Float32, Reducer

POINTS, IMAGES, LOCAL, GLOBAL = 1000, 6, 128, 4096
LOCAL_NOISE, IMAGE_NOISE = 0.3, 0.5  # of the length of what they are added to


class Facades:
    """Points, the same in both streets, each seen by all images of its street."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._local = self._random((POINTS, LOCAL))
        self._streets = self._random((2, GLOBAL))

    def figures(self, options: Mapping[str, Any], weights: Sequence[float]) -> list[Figures]:
        """For every weight, the percentage of keypoints that are matched with their point in the right street."""
        config = FusedConfig.from_mapping(options)
        images = np.concatenate([self._images(street, IMAGES) for street in range(2)])
        reducer = Reducer.fit(config.reduce, config.seed, images, LOCAL)
        rows = [np.arange(POINTS, dtype=np.int32) + street * POINTS for street in range(2) for _ in range(IMAGES)]
        figures = []
        for rho in weights:
            fusion = Fusion(1.0 / (1.0 + rho), reducer)
            reduced = smooth(fusion.reduce(images), rows, 2 * POINTS, config.smooth, renormalise=True)
            parts = ImageParts.of(fusion, reduced, sketch(images), rows, 2 * POINTS)
            shares = [self._right_share(parts, street) for street in range(2)]
            figures.append({"rho": rho, "right_percent": 100.0 * float(np.mean(shares))})
        return figures

    def _right_share(self, parts: ImageParts, street: int) -> float:
        fused = [parts.fusion.fuse(self._seen(), own) for own in parts.reduced]
        points = [np.mean(fused[first : first + IMAGES], axis=0) for first in (0, IMAGES)]
        index = ExactIndex(Codebook.store(np.concatenate(points), "float16"))
        part = parts.of_query(self._images(street, 1)[0])
        found = index.search(FusedQuery(self._seen(), part.reduced, parts.fusion.lam), 1).rows[:, 0]
        return float((found == np.arange(POINTS) + street * POINTS).mean())

    def _seen(self) -> Float32:
        return _unit(self._local + LOCAL_NOISE * self._random((POINTS, LOCAL)))

    def _images(self, street: int, count: int) -> Float32:
        return _unit(self._streets[street] + IMAGE_NOISE * self._random((count, GLOBAL)))

    def _random(self, shape: tuple[int, int]) -> Float32:
        return _unit(self._rng.normal(size=shape))


def _unit(rows: np.ndarray) -> Float32:
    return np.asarray(unit(rows), np.float32)
