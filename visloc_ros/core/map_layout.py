"""Paths of the files of this package's maps (for those of stock hloc see ``hloc_layout``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.manifest import MODEL_FOLDER, Manifest

FEATURES_NAME = "features.h5"
CENTROIDS_NAME = "vlad.h5"
VLAD = "vlad"
THUMBNAIL_FOLDER = "thumbnails"
CARD_NAME = "map.html"
PAGING_NAME = "paging.h5"
LISTS_NAME = "lists.h5"
VERSIONS_FOLDER = "versions"


@dataclass(frozen=True)
class MapLayout:
    """Paths of one map's files.

    ``centroids`` (the VLAD codebook) is None where another global descriptor is used; only a map of stock hloc can be
    without global descriptors.
    """

    folder: Path
    model: Path
    features: Path
    global_descriptors: Path
    centroids: Path | None
    has_global_descriptors: bool = True

    @property
    def files(self) -> list[Path]:
        """The map's files, and the folder of its thumbnails, which may be missing."""
        own = [self.features, self.global_descriptors, self.folder / THUMBNAIL_FOLDER, *self.model.glob("*")]
        return own if self.centroids is None else [*own, self.centroids]


def own_layout(folder: Path, manifest: Manifest | None = None) -> MapLayout:
    """Paths of a map that this package writes; the manifest names its global descriptor, VLAD without one."""
    stated = manifest.models.get("global") if manifest else None
    name = stated.name if stated else VLAD
    return MapLayout(
        folder,
        folder / MODEL_FOLDER,
        folder / FEATURES_NAME,
        folder / global_file_name(name),
        folder / CENTROIDS_NAME if name == VLAD else None,
    )


def global_file_name(descriptor: str) -> str:
    """File name of global descriptors, as hloc would call it: those of ``hloc:netvlad`` are ``netvlad``."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", descriptor.removeprefix("hloc:"))
    return f"global-feats-{safe}.h5"


def thumbnail_name(image_name: str) -> str:
    """File name of the small picture of a map image; slashes of the name become double underscores."""
    return f"{image_name.replace('/', '__').rpartition('.')[0] or image_name}.jpg"
