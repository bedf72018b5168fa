"""A map with its instances: those of its points, and the masks of its images, its own or those of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import Map, MapImage
from visloc_ros.core.progress import Progress, track
from visloc_search.instances.config import InstanceConfig
from visloc_search.instances.label_masks import instance_mask, picture_of
from visloc_search.instances.mask_files import labels_of_files
from visloc_search.instances.point_instances import label_points
from visloc_search.instances.samples import MaskedImage
from visloc_search.instances.styles import read_picture

_HELD_OUT_EVERY = 8  # images: training ends when these are not recognised better any more


@dataclass(frozen=True, eq=False)
class LabelledMap:
    """A map with the instance (P,) of each point, and the images that have a picture: rows, and masked pictures."""

    map: Map
    point_labels: NDArray[np.int32]
    rows: tuple[int, ...]
    masked: tuple[MaskedImage, ...]

    @property
    def images(self) -> list[MapImage]:
        """The map's images that have a picture."""
        return [self.map.images[row] for row in self.rows]

    @property
    def held_out(self) -> list[int]:
        """Places among ``rows`` of the images that judge the network: it does not learn them, unless there are few."""
        return list(range(_HELD_OUT_EVERY // 2, len(self.rows), _HELD_OUT_EVERY)) or list(range(len(self.rows)))

    @property
    def learned(self) -> list[int]:
        """Places among ``rows`` of the images that the network learns."""
        return [place for place in range(len(self.rows)) if place % _HELD_OUT_EVERY != _HELD_OUT_EVERY // 2]


def label_map(
    map_: Map,
    config: InstanceConfig,
    progress: Progress,
    masks: Path | None = None,
    styles: Mapping[str, Sequence[Path]] = MappingProxyType({}),
) -> LabelledMap:
    """The instances of a map's points and the masks of its images, of ``masks`` where these are given.

    ``styles`` are files of the same views, by image name. Raises MapError where the map has no pictures, SourceError
    for masks and styles that cannot be used.
    """
    found = ((row, picture_of(map_, image)) for row, image in enumerate(map_.images))
    pictures = [(row, picture) for row, picture in found if picture is not None]
    if not pictures:
        raise MapError(
            f"the map '{map_.name}' has no thumbnails of its images, from which instances are learned: build it again"
        )
    labels, of_files = labels_of_files(map_, masks) if masks else (label_points(map_, config), {})
    if of_files:
        pictures = [(row, picture) for row, picture in pictures if map_.images[row].name in of_files]
    masked = []
    for row, picture in track(progress, "masking images", pictures, len(pictures)):
        image = map_.images[row]
        mask = of_files[image.name] if of_files else instance_mask(image, picture, labels)
        copies = tuple(read_picture(file) for file in styles.get(image.name, ()))
        masked.append(MaskedImage(image.name, picture, mask, copies))
    return LabelledMap(map_, labels, tuple(row for row, _ in pictures), tuple(masked))
