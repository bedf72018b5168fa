"""Known camera poses from files: TUM by stamp, COLMAP models and kapture data sets by image name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from visloc_ros.core.colmap_model import ModelImage, read_cameras, read_images
from visloc_ros.core.colmap_text import read_text_cameras, read_text_images
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_folder
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.sources.kapture import is_kapture, read_kapture_poses
from visloc_ros.sources.named_poses import NamedPoses

logger = logging.getLogger(__name__)

_MODEL_FOLDERS = ("", "sfm", "sparse")
_MODEL_READERS = {"images.bin": read_images, "images.txt": read_text_images}
_CAMERA_READERS = {"cameras.bin": read_cameras, "cameras.txt": read_text_cameras}


def read_poses(path: Path) -> Trajectory | NamedPoses:
    """Read known poses ``map_from_camera``; the content determines the format.

    A folder is a COLMAP model (or holds one as ``sfm`` or ``sparse/0``: a map does), or a kapture data set; of several
    models, as COLMAP writes them where images do not connect, the one with the most images is taken. A file is
    COLMAP's images.bin or images.txt, or TUM lines. A model needs no points, nor cameras. Raises SourceError, or
    MapError where a model is broken.
    """
    if is_folder(path):
        return _read_folder(path)
    return read_model_poses(path) if path.name in _MODEL_READERS else read_tum(path)


def read_model_poses(path: Path) -> NamedPoses:
    """Poses of the images of a COLMAP model, images.bin or images.txt. Raises MapError or SourceError."""
    images = _MODEL_READERS[path.name](path)
    counts = Counter(image.name for image in images)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise SourceError(f"{path} holds the image '{twice}' twice: keep one of them")
    if not images:
        raise SourceError(f"{path} holds no images")
    poses = {image.name: image.map_from_camera for image in images}
    return NamedPoses(poses, _sizes(path, images), _is_of_upright_images(path.parent))


def _sizes(path: Path, images: Iterable[ModelImage]) -> dict[str, tuple[int, int]]:
    """Sizes of a model's images; none where its cameras are missing."""
    cameras_path = path.with_name(f"cameras{path.suffix}")
    if not cameras_path.is_file():
        return {}
    cameras = _CAMERA_READERS[cameras_path.name](cameras_path)
    known = ((image.name, cameras[image.camera_id]) for image in images if image.camera_id in cameras)
    return {name: (camera.width, camera.height) for name, camera in known}


def _is_of_upright_images(model: Path) -> bool:
    """Whether this package built the model: it turns photos upright, and keeps thumbnails."""
    return any(is_folder(place / THUMBNAIL_FOLDER) for place in (model, model.parent))


def _read_folder(folder: Path) -> NamedPoses:
    if is_kapture(folder):
        return read_kapture_poses(folder)
    files = _model_files(folder)
    if not files:
        raise SourceError(
            f"{folder} holds no known poses: give a COLMAP model (images.bin or images.txt), a kapture data set "
            "(sensors/records_camera.txt) or a TUM file"
        )
    return _largest(folder, files)


def _model_files(folder: Path) -> list[Path]:
    """The images of the first place that is a model, or holds COLMAP's numbered ones."""
    for place in (folder / name for name in _MODEL_FOLDERS):
        numbered = sorted((one for one in place.glob("*") if one.name.isdecimal()), key=lambda one: int(one.name))
        own, parts = (
            [file for one in folders if (file := _images_of(one)) is not None] for folders in ([place], numbered)
        )
        if own or parts:
            return own or parts
    return []


def _images_of(folder: Path) -> Path | None:
    return next((file for name in _MODEL_READERS if (file := folder / name).is_file()), None)


def _largest(folder: Path, files: Sequence[Path]) -> NamedPoses:
    """The poses of the model with the most images: the frames of several models have nothing in common."""
    models = {file.parent: read_model_poses(file) for file in files}
    if len(models) == 1:
        return next(iter(models.values()))
    first, second, *_ = sorted(models, key=lambda one: -len(models[one]))
    counts = ", ".join(f"{one.relative_to(folder)} with {len(poses)} images" for one, poses in models.items())
    if len(models[first]) == len(models[second]):
        raise SourceError(f"{folder} holds several COLMAP models ({counts}): give one of these folders")
    logger.warning(
        "%s holds several COLMAP models (%s): taking %s, the largest; to take another, give its folder",
        folder,
        counts,
        first.relative_to(folder),
    )
    return models[first]
