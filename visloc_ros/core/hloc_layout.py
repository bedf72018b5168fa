"""The files of a map that stock hloc made, found by the names its pipelines give them.

hloc names a file after the configuration that filled it: ``feats-<output>.h5``, ``global-feats-<output>.h5``. The
COLMAP model lies in a folder of any name; a folder may hold several models and several feature files. A model and a
feature file belong together if they hold the same keypoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from visloc_ros.core.colmap_model import ColmapModel
from visloc_ros.core.colmap_text import read_model
from visloc_ros.core.coordinate_frame import derived_uuid
from visloc_ros.core.errors import ManifestError, MapError
from visloc_ros.core.feature_files import keypoints_agree, read_keypoints
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, ModelInfo, file_info
from visloc_ros.core.map_layout import CENTROIDS_NAME, FEATURES_NAME, VLAD, MapLayout, global_file_name

HLOC = "hloc:"
FEATURES_PREFIX, GLOBAL_PREFIX = "feats-", "global-feats-"
_MATCHES_MARK = "_matches-"
_MODEL_PATTERNS = ("", "*/", "*/*/", "*/*/*/")

# Which extractor made what hloc calls "feats-<key>.h5"; one named "hloc:<conf>" comes out of an installed hloc.
EXTRACTOR_OF_OUTPUT = MappingProxyType(
    {
        "aliked-n16": "aliked-n16",
        "aliked-n16rot": "aliked-n16rot",
        "aliked-n32": "aliked-n32",
        "disk": "disk",
        "superpoint-n4096-r1024": "superpoint",
        "superpoint-n4096-rmax1600": "superpoint",
        "superpoint-n4096-r1600": "superpoint",
        "r2d2-n5000-r1024": "hloc:r2d2",
        "d2net-ss": "hloc:d2net-ss",
        "sift": "hloc:sift",
        "sosnet": "hloc:sosnet",
    }
)


def features_file_name(extractor: str) -> str:
    """hloc's name for the feature file of an extractor, so that ``find_hloc_layout`` recognises it."""
    outputs = (output for output, name in EXTRACTOR_OF_OUTPUT.items() if name == extractor)
    return f"{FEATURES_PREFIX}{next(outputs, _safe(extractor.removeprefix(HLOC)))}.h5"


def find_hloc_layout(folder: Path) -> MapLayout:
    """Find the files of a map folder made by stock hloc. Raises MapError where one is missing or the choice is open."""
    if (folder / FEATURES_NAME).exists() and (folder / CENTROIDS_NAME).exists():
        raise ManifestError(f"{folder / MANIFEST_NAME} is missing: copy the map again or rebuild it")
    models = _found(folder, _model_folders(folder), "COLMAP model (sfm/images.bin or images.txt)")
    features = _found(folder, _feature_files(folder), "feature file (feats-*.h5)")
    model, feature_file = _belonging(folder, models, features)
    descriptors = _global_file(folder)
    codebook = folder / CENTROIDS_NAME
    has_codebook = descriptors.name == global_file_name(VLAD) and codebook.exists()
    return MapLayout(folder, model, feature_file, descriptors, codebook if has_codebook else None, descriptors.exists())


def hloc_manifest(layout: MapLayout, extractor: str = "") -> Manifest:
    """Describe a map made by stock hloc from its file names; its scale and its gravity are not known.

    ``extractor`` names the model of the local features where the file name does not; MapError where neither does.
    """
    models = {"extractor": ModelInfo(_extractor_of(layout, extractor), "not stated")}
    if layout.has_global_descriptors:
        output = layout.global_descriptors.stem.removeprefix(GLOBAL_PREFIX)
        models["global"] = ModelInfo(output if layout.centroids else f"{HLOC}{output}", "not stated")
    name, frame = layout.folder.resolve().name, derived_uuid(_content_of(layout.model))
    return Manifest(name, "hloc", models, metric=False, gravity_aligned=False, frame_uuid=frame)


def _content_of(model: Path) -> str:
    """The checksums of the files with a model's images and points."""
    files = [path for pattern in ("images.*", "points3D.*") for path in sorted(model.glob(pattern))]
    return " ".join(f"{path.name} {file_info(path).sha256}" for path in files)


def _extractor_of(layout: MapLayout, stated: str) -> str:
    output = layout.features.stem.removeprefix(FEATURES_PREFIX)
    known_by_name = EXTRACTOR_OF_OUTPUT.get(output)
    if stated and known_by_name not in (None, stated):
        raise MapError(
            f"{layout.features} was made by {known_by_name}, as its name says, not by {stated}: "
            "leave --extractor out, or rename the file"
        )
    if stated:
        return stated
    if known_by_name is None:
        known = ", ".join(f"{FEATURES_PREFIX}{name}.h5" for name in EXTRACTOR_OF_OUTPUT)
        raise MapError(
            f"{layout.features}: the name of the file does not say which extractor made it (known: {known}): say so "
            f"with 'visloc import-hloc {layout.folder} --extractor NAME --output MAP'"
        )
    return known_by_name


def _model_folders(folder: Path) -> list[Path]:
    """Folders with a COLMAP model, without smaller parts that hloc left inside another model's folder."""
    files = [path for prefix in _MODEL_PATTERNS for path in sorted(folder.glob(f"{prefix}images.*"))]
    folders = dict.fromkeys(path.parent for path in files if _is_of_model(path))
    return [model for model in folders if not any(parent in folders for parent in model.parents)]


def _is_of_model(images: Path) -> bool:
    # A list of images may be called images.txt, too; a model has other files of the same kind.
    others = (images.with_stem(name) for name in ("cameras", "points3D"))
    return images.suffix in (".bin", ".txt") and any(path.exists() for path in others)


def _feature_files(folder: Path) -> list[Path]:
    files = [*sorted(folder.glob(f"{FEATURES_PREFIX}*.h5")), folder / FEATURES_NAME]
    return [path for path in files if _MATCHES_MARK not in path.name and path.exists()]


def _global_file(folder: Path) -> Path:
    found = sorted(folder.glob(f"{GLOBAL_PREFIX}*.h5"))
    if len(found) > 1:
        raise MapError(f"{folder} holds more than one global descriptor file ({_names(found)}): keep one in the folder")
    return found[0] if found else folder / global_file_name(VLAD)


def _found(folder: Path, paths: list[Path], what: str) -> list[Path]:
    if not paths:
        raise ManifestError(f"{folder} holds neither {MANIFEST_NAME} nor one {what}: it is not a map folder")
    return paths


def _belonging(folder: Path, models: list[Path], features: list[Path]) -> tuple[Path, Path]:
    """The one model and the one feature file that hold the same keypoints."""
    if len(models) == len(features) == 1:
        return models[0], features[0]
    fitting = [
        (path, file)
        for path, model in ((path, read_model(path)) for path in models)
        for file in features
        if _fit(model, file)
    ]
    if len(fitting) == 1:
        return fitting[0]
    found = f"the models {_names(models, folder)} and the feature files {_names(features)}"
    if not fitting:
        raise MapError(f"{folder}: no two of {found} hold the same keypoints: the files belong to different maps")
    raise MapError(f"{folder}: more than one pair of {found} fit together: keep one of each in the folder")


def _fit(model: ColmapModel, file: Path) -> bool:
    stored = read_keypoints(file, [image.name for image in model.images])
    return all(
        one is not None and keypoints_agree(one, image.keypoints)
        for one, image in zip(stored, model.images, strict=True)
    )


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name)


def _names(paths: Sequence[Path], folder: Path | None = None) -> str:
    return ", ".join(path.relative_to(folder).as_posix() if folder else path.name for path in paths)
