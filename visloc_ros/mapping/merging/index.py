"""By what the images of a merged map are retrieved: the descriptors of the network that made all of them, else VLAD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import Map
from visloc_ros.features import Vlad, VladConfig


@dataclass(frozen=True, eq=False)
class MapIndex:
    """Global descriptors (G,) by image name, the model that made them, and its codebook, empty unless it is VLAD."""

    model: ModelInfo
    descriptors: Mapping[str, NDArray[np.float32]]
    centroids: NDArray[np.float32]

    @property
    def length(self) -> int:
        """Length of a descriptor."""
        return next(iter(self.descriptors.values())).size


def index_of(map_: Map, config: VladConfig) -> MapIndex:
    """The index of a map: its own, where it has global descriptors, else VLAD with a codebook of all of its images."""
    names = [image.name for image in map_.images]
    if map_.global_descriptors.size:
        descriptors = dict(zip(names, map_.global_descriptors, strict=True))
        return MapIndex(map_.manifest.models["global"], descriptors, map_.vlad_centroids)
    vlad = Vlad.train((image.features.descriptors for image in map_.images), config)
    described = {image.name: vlad.describe_features(image.features) for image in map_.images}
    return MapIndex(vlad.info, described, vlad.centroids)
