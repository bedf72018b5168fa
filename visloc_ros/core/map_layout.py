"""Where the files of a map lie: this package's names, or those stock hloc chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, ModelInfo

MODEL_FOLDER = "sfm"
FEATURES_NAME = "features.h5"
GLOBAL_NAME = "global-feats-vlad.h5"
CENTROIDS_NAME = "vlad.h5"
THUMBNAIL_FOLDER = "thumbnails"
CARD_NAME = "map.html"


@dataclass(frozen=True)
class MapLayout:
    """Paths of one map's files; ``centroids`` is None in a map made by stock hloc."""

    folder: Path
    model: Path
    features: Path
    global_descriptors: Path
    centroids: Path | None

    @property
    def has_manifest(self) -> bool:
        """Whether this package made the map."""
        return self.centroids is not None


def own_layout(folder: Path) -> MapLayout:
    """Paths of a map that this package writes."""
    return MapLayout(
        folder, folder / MODEL_FOLDER, folder / FEATURES_NAME, folder / GLOBAL_NAME, folder / CENTROIDS_NAME
    )


def find_layout(folder: Path) -> MapLayout:
    """Find the files of a map folder, ours or stock hloc's. Raises MapError where something is missing."""
    if (folder / MANIFEST_NAME).exists():
        return own_layout(folder)
    if (folder / FEATURES_NAME).exists() and (folder / CENTROIDS_NAME).exists():
        raise MapError(f"{folder / MANIFEST_NAME} is missing: copy the map again or rebuild it")
    models = [found.parent for found in sorted(folder.glob("*/images.bin")) + sorted(folder.glob("images.bin"))]
    descriptors = sorted(folder.glob("global-feats-*.h5"))
    features = [path for path in sorted(folder.glob("feats-*.h5")) if "_matches-" not in path.name]
    return MapLayout(
        folder,
        _only(folder, models, "COLMAP model (sfm/images.bin)"),
        _only(folder, features, "feature file (feats-*.h5)"),
        _only(folder, descriptors, "global descriptor file (global-feats-*.h5)"),
        None,
    )


def hloc_manifest(layout: MapLayout) -> Manifest:
    """Describe a map made by stock hloc from its file names; its scale and its gravity are not known."""
    extractor = layout.features.stem.removeprefix("feats-")
    descriptor = layout.global_descriptors.stem.removeprefix("global-feats-")
    models = {"extractor": ModelInfo(extractor, "not stated"), "global": ModelInfo(descriptor, "not stated")}
    return Manifest(layout.folder.resolve().name, "hloc", models, metric=False, gravity_aligned=False)


def _only(folder: Path, found: list[Path], what: str) -> Path:
    if len(found) == 1:
        return found[0]
    if not found:
        raise MapError(f"{folder} holds neither {MANIFEST_NAME} nor one {what}: it is not a map folder")
    names = ", ".join(path.name for path in found)
    raise MapError(f"{folder} holds more than one {what} ({names}): keep one of them in the folder")
