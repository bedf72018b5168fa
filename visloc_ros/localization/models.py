"""Whether a map and the models at hand belong together, and the map's index of global descriptors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import Map
from visloc_ros.features.types import LocalExtractor
from visloc_ros.features.vlad import Vlad


def check_models(map_: Map, extractor: LocalExtractor) -> None:
    """Refuse an extractor that did not make the map's features. Raises MapError in words (SPEC H-12)."""
    stated = map_.manifest.models.get("extractor")
    if stated is None:
        raise MapError(f"the map '{map_.name}' does not say which extractor made it: build it again")
    if stated.name != extractor.info.name:
        raise MapError(
            f"the map '{map_.name}' was made with '{stated.name}', but the engine extracts '{extractor.info.name}': "
            f"set features.name to '{stated.name}', or build the map again"
        )
    if stated.sha256 and extractor.info.sha256 and stated.sha256 != extractor.info.sha256:
        raise MapError(
            f"the map '{map_.name}' was made with other weights of '{stated.name}' (SHA-256 {stated.sha256[:12]}..., "
            f"here {extractor.info.sha256[:12]}...): use the same weights file, or build the map again"
        )
    dims = {image.features.descriptors.shape[1] for image in map_.images}
    if dims != {extractor.descriptor_dim}:
        raise MapError(
            f"the map '{map_.name}' holds descriptors of length {sorted(dims)}, '{extractor.info.name}' makes "
            f"{extractor.descriptor_dim}: build the map again"
        )


def global_index(map_: Map) -> tuple[Vlad, NDArray[np.float32]]:
    """The map's VLAD codebook and global descriptors (M, G).

    A map with global descriptors of another kind (made by stock hloc) is indexed anew from its local descriptors.
    """
    if map_.vlad_centroids.size:
        vlad = Vlad(map_.vlad_centroids)
        if map_.global_descriptors.shape == (len(map_.images), vlad.centroids.size):
            return vlad, np.ascontiguousarray(map_.global_descriptors, dtype=np.float32)
        raise MapError(f"the global descriptors of the map '{map_.name}' do not fit its codebook: build it again")
    vlad = Vlad.train(image.features.descriptors for image in map_.images)
    return vlad, np.stack([vlad.describe(image.features) for image in map_.images])
