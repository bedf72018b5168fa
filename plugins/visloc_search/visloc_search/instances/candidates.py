"""Which map images to match, instance by instance.

After LBR (Xue et al., CVPR 2022): for each instance that an image shows, in their order, those map images that show it
and look most alike are a cluster of candidates. So the map is searched only as far as recognition goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from visloc_search.instances.instance_map import InstanceMap
from visloc_search.instances.recognition import Float32, Recognition, rank_instances

_MIN_AREA = 0.01  # of an image: less of an instance is not enough to find the place by
_AREA_WEIGHT = 1.0  # of the areas that two images share, beside the similarity of their descriptors
_MOST_IMAGES = 40  # that are matched before the search falls back to retrieval
_LARGEST_SHARE = 0.3  # of the map's images, as well


class CandidateIndex:
    """Finds the map images to match with a query; made once for a map."""

    def __init__(self, instances: InstanceMap, cluster_size: int) -> None:
        self._instances, self._size = instances, cluster_size
        self._shows = instances.areas >= _MIN_AREA
        count = len(instances.areas)
        self._most = min(_MOST_IMAGES, max(round(_LARGEST_SHARE * count), cluster_size))

    def clusters(self, recognition: Recognition, allowed: NDArray[np.bool_]) -> Iterator[list[int]]:
        """Rows of map images by cluster, the most promising first, no image twice; ``allowed`` (M,) may be matched."""
        likeness, similar = self._likeness(recognition)
        left = similar & allowed
        num_left = self._most
        for one in rank_instances(recognition):
            rows = np.flatnonzero(left & self._shows[:, one])
            best = rows[np.argsort(-likeness[rows], kind="stable")][: min(self._size, num_left)]
            if len(best):
                left[best] = False
                num_left -= len(best)
                yield best.tolist()
            if num_left == 0:
                return

    def _likeness(self, recognition: Recognition) -> tuple[Float32, NDArray[np.bool_]]:
        """How alike each image (M,) is to the query, and whether it may show the same at all."""
        similarity = self._instances.descriptors @ recognition.descriptor
        areas = recognition.areas(self._instances.num_classes)
        shared = np.minimum(self._instances.areas[:, 1:], areas[1:]).sum(axis=1)
        return similarity + _AREA_WEIGHT * shared, similarity >= self._instances.min_similarity
