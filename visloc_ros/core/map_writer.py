"""Maps are written beside their final place and moved there when whole; an old map stays until then."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError, OutputError, OutputExistsError
from visloc_ros.core.feature_files import (
    LocalFeatures,
    write_centroids,
    write_global_descriptors,
    write_local_features,
)
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, file_info, write_manifest
from visloc_ros.core.map_layout import own_layout


def save_map(
    path: Path,
    reconstruction: pycolmap.Reconstruction,
    features: Mapping[str, LocalFeatures],
    global_descriptors: Mapping[str, NDArray[np.floating]],
    vlad_centroids: NDArray[np.floating],
    manifest: Manifest,
    *,
    overwrite: bool = False,
) -> Manifest:
    """Write a map folder and give its complete manifest (cameras, counts, errors and file checksums filled in).

    ``features`` are aligned with the points2D of the reconstruction's images; ``vlad_centroids`` is written if the
    manifest says that the global descriptor is VLAD, and may be empty if not. Raises OutputError when the place is
    taken (without ``overwrite``) or not writable, MapError when the parts do not fit together.
    """
    with staged_folder(path, overwrite=overwrite) as folder:
        return write_map(folder, reconstruction, features, global_descriptors, vlad_centroids, manifest)


def write_map(
    folder: Path,
    reconstruction: pycolmap.Reconstruction,
    features: Mapping[str, LocalFeatures],
    global_descriptors: Mapping[str, NDArray[np.floating]],
    vlad_centroids: NDArray[np.floating],
    manifest: Manifest,
) -> Manifest:
    """Write the files of a map into an existing folder, the manifest last. Raises MapError."""
    layout = own_layout(folder, manifest)
    names = _registered_names(reconstruction, features, global_descriptors)
    layout.model.mkdir(exist_ok=True)
    reconstruction.write_binary(layout.model)
    write_local_features(layout.features, {name: features[name] for name in names})
    write_global_descriptors(layout.global_descriptors, {name: global_descriptors[name] for name in names})
    if layout.centroids is not None:
        write_centroids(layout.centroids, vlad_centroids)
    complete = describe(manifest, reconstruction, folder)
    write_manifest(folder, complete)
    return complete


def describe(manifest: Manifest, reconstruction: pycolmap.Reconstruction, folder: Path) -> Manifest:
    """Fill in what a manifest says about its reconstruction and the data files in its folder.

    What it said of the map's own error was of another reconstruction, and goes.
    """
    layout = own_layout(folder, manifest)
    files = [*sorted(layout.model.iterdir()), layout.features, layout.global_descriptors]
    files += [layout.centroids] if layout.centroids else []
    reconstruction.update_point_3d_errors()
    return replace(
        manifest,
        cameras={str(key): _camera_values(camera) for key, camera in reconstruction.cameras.items()},
        counts={
            "images": reconstruction.num_reg_images(),
            "points": reconstruction.num_points3D(),
            "observations": reconstruction.compute_num_observations(),
        },
        reprojection_error_px=float(reconstruction.compute_mean_reprojection_error()),
        uncertainty=None,
        files={file.relative_to(folder).as_posix(): file_info(file) for file in files},
    )


@contextmanager
def staged_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a new folder beside ``path`` that becomes ``path`` when the block ends well, and vanishes when not.

    Raises OutputError when ``path`` is taken or its place is not writable.
    """
    check_output(path, overwrite=overwrite)
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-{os.getpid()}-", dir=path.parent))
        folder.chmod(0o755)
    except OSError as error:
        raise OutputError(f"cannot write to {path.parent}: {error.strerror}; choose another folder") from error
    try:
        yield folder
        _replace_folder(path, folder)
    except OSError as error:
        if not _is_of_writing(error, path.parent):
            raise
        cure = "free some space" if _is_full(error) else "see that the folder is writable, or choose another one"
        raise OutputError(f"cannot write {path}: {error}; {cure}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_full(error: OSError) -> bool:
    """Whether there is no space left; HDF5 says so only in its words."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or f"errno = {errno.ENOSPC}" in str(error)


def _is_of_writing(error: OSError, parent: Path) -> bool:
    """Whether an error is of the files that are written below a folder, not of some that were read for them."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return _is_full(error) or not names or any(Path(name).is_relative_to(parent) for name in names)


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a place that holds something already, before any work is done. Raises OutputError."""
    if not os.path.lexists(path):
        _check_writable(path)
        return
    if not path.is_dir():
        raise OutputExistsError(f"{path} is a file: choose a folder for the map")
    if any(path.iterdir()) and not (path / MANIFEST_NAME).exists():
        raise OutputExistsError(f"{path} holds other files and is not a map: choose another folder")
    if any(path.iterdir()) and not overwrite:
        raise OutputExistsError(f"{path} already holds a map: choose another folder or allow overwriting (--overwrite)")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {parent}: choose another folder or change its permissions")


def _remove_orphans(path: Path) -> None:
    """Remove what builds of the same map left behind when they were killed."""
    pattern = re.compile(re.escape(f".{path.name}.partial-") + r"(\d+)-\w+")
    for sibling in path.parent.iterdir():
        match = pattern.fullmatch(sibling.name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(sibling, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _replace_folder(path: Path, folder: Path) -> None:
    if not path.exists():
        folder.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    path.rename(old / "map")
    try:
        folder.rename(path)
    except BaseException:
        (old / "map").rename(path)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _registered_names(
    reconstruction: pycolmap.Reconstruction,
    features: Mapping[str, LocalFeatures],
    global_descriptors: Mapping[str, NDArray[np.floating]],
) -> list[str]:
    names = []
    for image_id in reconstruction.reg_image_ids():
        image = reconstruction.images[image_id]
        names.append(image.name)
        if image.name not in features or image.name not in global_descriptors:
            raise MapError(f"image '{image.name}' of the reconstruction has no features or no global descriptor")
        if len(features[image.name]) != image.num_points2D():
            raise MapError(
                f"image '{image.name}' has {image.num_points2D()} points in the reconstruction but "
                f"{len(features[image.name])} features"
            )
    return names


def _camera_values(camera: pycolmap.Camera) -> dict[str, Any]:
    return {
        "model": camera.model_name,
        "width": int(camera.width),
        "height": int(camera.height),
        "params": [float(value) for value in camera.params],
    }
