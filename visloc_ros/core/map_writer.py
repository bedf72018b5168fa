"""Maps are written beside their final place and moved there when whole; an old map stays until then."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_folder, check_space, restore
from visloc_ros.core.colmap_model import write_model
from visloc_ros.core.errors import MapError, OutputError, OutputExistsError
from visloc_ros.core.feature_files import (
    LocalFeatures,
    write_centroids,
    write_global_descriptors,
    write_local_features,
)
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, file_info, write_manifest
from visloc_ros.core.map_layout import VERSIONS_FOLDER, own_layout
from visloc_ros.core.map_lock import changing
from visloc_ros.core.on_demand import OnDemand


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
    check_space(folder, sum(features[name].descriptors.size for name in names))  # packed, a byte for each number
    write_model(layout.model, reconstruction)
    write_local_features(layout.features, OnDemand(names, features.__getitem__))
    write_global_descriptors(layout.global_descriptors, OnDemand(names, global_descriptors.__getitem__))
    if layout.centroids is not None:
        write_centroids(layout.centroids, vlad_centroids)
    complete = describe(manifest, reconstruction, folder)
    write_manifest(folder, complete)
    return complete


def describe(manifest: Manifest, reconstruction: pycolmap.Reconstruction, folder: Path) -> Manifest:
    """Fill in what a manifest says about its reconstruction and the data files in its folder.

    Its entries on the map's own error and on prepared files are removed: they belong to another reconstruction. Where
    it does not say how many images the map was built of, it was built of all.
    """
    layout = own_layout(folder, manifest)
    files = [*sorted(layout.model.iterdir()), layout.features, layout.global_descriptors]
    files += [layout.centroids] if layout.centroids else []
    reconstruction.update_point_3d_errors()
    return replace(
        manifest,
        cameras={str(key): _describe_camera(camera, manifest) for key, camera in reconstruction.cameras.items()},
        counts={
            "images": reconstruction.num_reg_images(),
            "points": reconstruction.num_points3D(),
            "observations": reconstruction.compute_num_observations(),
        },
        built_images=manifest.built_images or reconstruction.num_reg_images(),
        reprojection_error_px=float(reconstruction.compute_mean_reprojection_error()),
        uncertainty=None,
        prepared={},
        files={file.relative_to(folder).as_posix(): file_info(file) for file in files},
    )


@contextmanager
def staged_folder(path: Path, *, overwrite: bool = False, keeps_versions: bool = False) -> Iterator[Path]:
    """Give a new folder beside ``path`` that becomes ``path`` when the block ends well, and vanishes when not.

    Raises OutputError as ``check_output`` does, MapBusyError as ``changing`` does, whose lock is held meanwhile: who
    has read the map before takes that first.
    """
    check_output(path, overwrite=overwrite, keeps_versions=keeps_versions)
    with changing(path), atomic_folder(path) as folder:
        yield folder


def check_output(path: Path, *, overwrite: bool = False, keeps_versions: bool = False) -> None:
    """Refuse a place that holds something already, before any work is done. Raises OutputError.

    A map with earlier versions is not overwritten, except by what ``keeps_versions`` of it.
    """
    restore(path)
    if os.path.lexists(path):
        try:
            _check_replaceable(path, overwrite, keeps_versions)
        except OSError as error:
            raise OutputExistsError(f"cannot look into {path} ({error.strerror}): choose another folder") from error
    _check_writable(path)


def _check_replaceable(path: Path, overwrite: bool, keeps_versions: bool) -> None:
    if not path.is_dir():
        raise OutputExistsError(f"{path} is a file: choose a folder for the map")
    if any(path.iterdir()) and not (path / MANIFEST_NAME).exists():
        raise OutputExistsError(f"{path} holds other files and is not a map: choose another folder")
    if any(path.iterdir()) and not overwrite:
        raise OutputExistsError(f"{path} already holds a map: choose another folder or allow overwriting (--overwrite)")
    if has_versions(path) and not keeps_versions:
        raise OutputExistsError(
            f"{path} holds a map with earlier versions, which would be lost: choose another folder, or delete that map "
            f"first ('visloc maps delete {path}')"
        )


def has_versions(path: Path) -> bool:
    """Whether earlier versions of a map lie in its folder."""
    return (path / VERSIONS_FOLDER).is_dir() and any((path / VERSIONS_FOLDER).iterdir())


def _check_writable(path: Path) -> None:
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {parent}: choose another folder or change its permissions")


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


def _describe_camera(camera: pycolmap.Camera, manifest: Manifest) -> dict[str, Any]:
    """The camera's values, with what the manifest adds to a camera with the same values."""
    values = camera_values(camera)
    known = (one for one in manifest.cameras.values() if all(one.get(name) == values[name] for name in values))
    return dict(next(known, values))


def camera_values(camera: pycolmap.Camera) -> dict[str, Any]:
    """A camera as plain values; the parameters are in COLMAP's order and pixels."""
    return {
        "model": camera.model_name,
        "width": int(camera.width),
        "height": int(camera.height),
        "params": [float(value) for value in camera.params],
    }
