"""A place in one map with others, as of a building: which part of the map an image shows has to be found, too."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from pathlib import Path

import numpy as np

from benchmarks.places import Place
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.map import NO_POINT, Map, open_map
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_writer import staged_folder, write_map
from visloc_ros.features import VladConfig
from visloc_ros.mapping.collection import write_thumbnails
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.merging.joining import join
from visloc_ros.mapping.merging.merger import index_of

_APART = 100.0  # metres between places


@dataclass(frozen=True)
class Building(Place):
    """A place, in whose frame the map is, and ``parts`` of the same map, the place itself first."""

    parts: tuple[Place, ...] = ()

    def open_map(self, maps: Path, config: Path | None = None) -> Map:
        """The map of all places below the folder ``maps``, built if missing."""
        path = maps / self.name
        if not path.exists():
            write_joined(path, [part.open_map(maps, config) for part in self.parts])
        return replace(open_map(path), name=self.name)


def in_building(place: Place, others: Sequence[Place]) -> Building:
    """A place with others in one map."""
    own = {one.name: getattr(place, one.name) for one in fields(Place)}
    return Building(**{**own, "name": f"building of {place.name}"}, parts=(place, *others))


def write_joined(path: Path, maps: list[Map]) -> None:
    """Write one map of several that have nothing in common, in the frame of the first, with one global index."""
    joined = reduce(_beside, maps)
    index = index_of(joined, VladConfig())
    manifest = replace(
        joined.manifest, name=path.name, models={**joined.manifest.models, "global": index.model}, prepared={}
    )
    features = {image.name: image.features for image in joined.images}
    with staged_folder(path) as folder:
        write_thumbnails(folder / THUMBNAIL_FOLDER, joined.thumbnails)
        write_map(folder, reconstruction_of(joined), features, index.descriptors, index.centroids, manifest)


def _beside(joined: Map, other: Map) -> Map:
    """Both maps, the other one far from all before."""
    farthest = float(joined.camera_positions[:, 0].max())
    shift = Sim3(1.0, np.eye(3), np.array([farthest + _APART, 0.0, 0.0]))
    separate = replace(joined, global_descriptors=joined.global_descriptors[:0])
    return join(separate, other, shift, np.full(len(other.points), NO_POINT, np.intp))
