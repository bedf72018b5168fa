"""The demo map in a folder, with a second version in its place or beside it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from visloc_ros.core.geometry import Sim3
from visloc_ros.core.manifest import in_frame
from visloc_ros.core.map import open_map
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_versions import keep_versions, next_version
from visloc_ros.core.map_writer import staged_folder, write_map
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.scale import transform
from visloc_ros.mapping.update.thinning import thin

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"


def unpacked_room(folder):
    """The demo map."""
    shutil.unpack_archive(DEMO_MAP, folder)
    return folder


def write_second_version(folder, frame_from_map=None):
    """Let a version without every third point take a map's place; in another frame where one is given."""
    before = open_map(folder)
    is_gone = np.arange(len(before.points)) % 3 == 0
    after = thin(before, is_gone, np.zeros(len(before.images), bool)).map
    names = [image.name for image in after.images]
    reconstruction, manifest = reconstruction_of(after), before.manifest
    if frame_from_map is not None:
        transform(reconstruction, Sim3.from_se3(frame_from_map))
        manifest = in_frame(manifest, manifest.frame.moved(Sim3.from_se3(frame_from_map)))
    with staged_folder(folder, overwrite=True) as staged:
        shutil.copytree(folder / THUMBNAIL_FOLDER, staged / THUMBNAIL_FOLDER)
        write_map(
            staged,
            reconstruction,
            {image.name: image.features for image in after.images},
            dict(zip(names, after.global_descriptors, strict=True)),
            after.vlad_centroids,
            replace(manifest, version=next_version(folder)),
        )
        keep_versions(folder, staged)
