"""A way of searching as a package of its own: keypoints are matched with all points of the map at once.

pip install examples/whole_map_search; visloc compare MAP SOURCE --search retrieval,whole_map
"""

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.config import Config, option
from visloc_ros.core.map import NO_POINT
from visloc_ros.localization.evidence import Correspondences, Evidence, EvidenceSolver
from visloc_ros.localization.guided import MIN_SIMILARITY
from visloc_ros.localization.strategy import OpenedMaps, SearchStrategy
from visloc_ros.localization.view_change import ViewOverlap


@dataclass(frozen=True)
class WholeMapConfig(Config):
    """How keypoints are matched."""

    min_similarity: float = option(0.8, "Least dot product of unit descriptors that match.", minimum=0.0, maximum=1.0)


class WholeMapSearcher:
    """Gathers evidence by the most similar keypoint of the whole map for each of an image."""

    min_similarity = MIN_SIMILARITY

    def __init__(self, map_, config, matcher):
        self.map, self.matcher, self.overlap = map_, matcher, ViewOverlap(map_)
        self._options = config.strategies.get(WHOLE_MAP.name) or WholeMapConfig()
        self._solver = EvidenceSolver(map_, config.pose)
        seen = [image.point_rows != NO_POINT for image in map_.images]
        images = list(zip(map_.images, seen, strict=True))
        self._point_rows = np.concatenate([image.point_rows[rows] for image, rows in images])
        descriptors = np.concatenate([image.features.descriptors[rows] for image, rows in images])
        self._descriptors = descriptors.astype(np.float32)

    def gather(self, query, prior):
        """Evidence of all keypoints at once."""
        with query.watch("matching"):
            similarity = query.features.descriptors.astype(np.float32) @ self._descriptors.T
            nearest, scores = similarity.argmax(axis=1), similarity.max(axis=1)
            keypoints = np.flatnonzero(scores >= self._options.min_similarity)
            points = self._point_rows[nearest[keypoints]].astype(np.int64)
        found = Correspondences(keypoints, points, scores[keypoints].astype(float))
        yield self._solver.solve(query, Evidence(found, len(found)), prior)


class WholeMapStrategy(SearchStrategy):
    """Opens maps as they are built; there is nothing to prepare."""

    name, options = "whole_map", WholeMapConfig

    def open(self, maps, config, matcher):
        """Make a searcher of each map."""
        return OpenedMaps([WholeMapSearcher(map_, config, matcher) for map_ in maps])


WHOLE_MAP = WholeMapStrategy()
