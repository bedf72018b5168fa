"""Files that belong to a source, or to known poses, and lie beside or above them: of cameras and of true poses."""

from __future__ import annotations

import os
from pathlib import Path

from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.sources.datasets import kitti_poses
from visloc_ros.sources.kitti_raw import calibrations_above
from visloc_ros.sources.layouts import CAMERA_NAME, TRUTH_NAMES
from visloc_ros.sources.scanner_info import INFO_NAMES


def files_beside(source: Path) -> list[Path]:
    """Those that ``open_source`` may read for a folder or file at this path."""
    folder = source if is_folder(source) else source.parent
    places = [] if folder == source else [folder / name for name in (CAMERA_NAME, *INFO_NAMES, *TRUTH_NAMES)]
    for real in [folder.resolve(), *_linked_folders(folder)]:
        places += [real.parent / name for name in INFO_NAMES] + calibrations_above(real)
    if (poses := kitti_poses(folder)) is not None:
        places.append(poses)
    return [place for place in places if is_file(place)]


def _linked_folders(folder: Path) -> list[Path]:
    """Where links of a folder lead to: a data set's images may lie elsewhere, with their own surroundings."""
    with os.scandir(folder) as entries:
        links = sorted(entry.path for entry in entries if entry.is_symlink())
    return [Path(link).resolve() for link in links if is_folder(Path(link))]


def beside_poses(poses: Path) -> list[Path]:
    """Files and folders whose content, or presence, ``read_poses`` may take into account for a file of poses."""
    model = poses.parent
    places = [poses.with_name(f"cameras{poses.suffix}"), model / THUMBNAIL_FOLDER, model.parent / THUMBNAIL_FOLDER]
    return [] if is_folder(poses) else [place for place in places if is_file(place) or is_folder(place)]
