"""Known camera poses from files: TUM by stamp, COLMAP models and kapture data sets by image name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from visloc_ros.core.colmap_model import read_images
from visloc_ros.core.colmap_text import read_text_images
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_folder
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.sources.kapture import is_kapture, read_kapture_poses
from visloc_ros.sources.named_poses import NamedPoses

_MODEL_FOLDERS = ("", "sfm", "sparse/0", "sparse")
_MODEL_READERS = {"images.bin": read_images, "images.txt": read_text_images}


def read_poses(path: Path) -> Trajectory | NamedPoses:
    """Read known poses ``map_from_camera``; the content determines the format.

    A folder is a COLMAP model (or holds one as ``sfm`` or ``sparse/0``: a map does), or a kapture data set; a file is
    COLMAP's images.bin or images.txt, or TUM lines. Of a model only the images are read, so that points may be
    missing. Raises SourceError, or MapError where a model is broken.
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
    return NamedPoses({image.name: image.map_from_camera for image in images})


def _read_folder(folder: Path) -> NamedPoses:
    if is_kapture(folder):
        return read_kapture_poses(folder)
    files = (folder / place / name for place in _MODEL_FOLDERS for name in _MODEL_READERS)
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise SourceError(
            f"{folder} holds no known poses: give a COLMAP model (images.bin or images.txt), a kapture data set "
            "(sensors/records_camera.txt) or a TUM file"
        )
    return read_model_poses(path)
