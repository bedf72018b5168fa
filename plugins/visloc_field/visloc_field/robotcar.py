"""RobotCar Seasons (Maddern et al., IJRR 2017; Sattler et al., CVPR 2018), v2 and the first. Servers have the truth.

The database is condition ``overcast-reference``, its poses in ``3D-models/all-merged/all.nvm``, or in the COLMAP model
``3D-models/sfm-sift`` of LBR. Scene ``robotcar`` has all three cameras, ``rear``, ``left`` and ``right`` one each.

Of v2, ``robotcar_v2_test.txt`` names the images to find, without their condition: it is the folder
``images/CONDITION/CAMERA`` that holds the stamp. ``robotcar_v2_train.txt`` gives poses ``map_from_camera`` (16
numbers) of other images: they can be scored here, and are no part of the result file. Of the first RobotCar Seasons,
``queries/CONDITION_queries_with_intrinsics.txt`` list the images to find; LBR's tree has no lists: then all images of
the conditions are to be found. Results go by ``CAMERA/STAMP.jpg``. Conditions that are not unpacked are left out, which
a warning and the scene state.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pycolmap

from visloc_field.instance_files import find_masks, with_styles
from visloc_field.listings import Row, read_given_model, read_nvm, read_query_list, read_rows
from visloc_field.scene import OUTDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.geometry import SE3, nearest_rotation
from visloc_ros.sources.layouts import list_images

TITLE = "RobotCar Seasons"
SCENE = "robotcar"
REFERENCE = "overcast-reference"
CONDITIONS = (
    "dawn", "dusk", "night", "night-rain", "overcast-summer", "overcast-winter", "rain", "snow", "sun",
)  # fmt: skip
MARKS = ("3D-models/all-merged", f"images/{REFERENCE}")
_PRINCIPAL_POINTS = {
    "rear": (508.222931, 498.187378), "right": (502.503754, 490.259033), "left": (500.107605, 511.461426),
}  # fmt: skip
_FOCAL_PX, _SIDE_PX = 400.0, 1024
_LBR_MODEL, _LBR_CAMERA = "sfm-sift", "rear"
_LIST_END = "queries_with_intrinsics.txt"
_TRAIN_FORM = "NAME, and the 16 numbers of its pose"

logger = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where an image lies: its condition, which camera took it, when."""

    condition: str
    camera: str
    stamp: str

    @property
    def name(self) -> str:
        """Name of the image below ``images``."""
        return f"{self.condition}/{self.camera}/{self.stamp}.jpg"


def read_robotcar(root: Path, scenes: Sequence[str] = ()) -> list[BenchmarkScene]:
    """Read scenes, or the one of all cameras; poses are in metres, ``map_from_camera``. Raises SourceError."""
    known = (SCENE, *_PRINCIPAL_POINTS)
    unknown = [name for name in scenes if name not in known]
    if unknown:
        raise SourceError(f"{TITLE} has no scene '{unknown[0]}': choose from {', '.join(known)}, or leave --scenes out")
    return [_read_scene(root, name) for name in dict.fromkeys(scenes or [SCENE])]


def _read_scene(root: Path, name: str) -> BenchmarkScene:
    cameras = {camera: _camera(point) for camera, point in _PRINCIPAL_POINTS.items() if name in (SCENE, camera)}
    images = _Images.of(root, cameras)
    database, masks = tuple(_database(root, cameras)), None
    if _LBR_CAMERA in cameras:
        database, masks = with_styles(root, database, unstyled=REFERENCE), find_masks(root, database)
    for folder in dict.fromkeys(image.path.parent for image in database):
        if not is_folder(folder):
            raise SourceError(f"there is no folder {folder}: unpack all images, or name another camera by --scenes")
    queries = (*_queries(images), *_trained(images))
    if images.missing:
        missing = ", ".join(images.missing)
        logger.warning("%s is without the conditions %s: unpack their images to search them", root, missing)
    return BenchmarkScene(name, database, queries, OUTDOOR, "m", masks, images.missing).checked()


def _database(root: Path, cameras: Mapping[str, pycolmap.Camera]) -> Iterator[DatabaseImage]:
    path, poses = _reference(root / "3D-models")
    for given, pose in poses:
        parts = PurePosixPath(given).with_suffix(".jpg").parts[-3:]  # the first model calls JPEG images PNG
        if len(parts) < 3 or parts[0] != REFERENCE or parts[1] not in _PRINCIPAL_POINTS:
            raise SourceError(f"{path} names '{given}', which is no {REFERENCE}/CAMERA/STAMP: download it again")
        name = "/".join(parts)
        if parts[1] in cameras:
            yield DatabaseImage(name, root / "images" / name, cameras[parts[1]], pose)


def _reference(models: Path) -> tuple[Path, list[tuple[str, SE3]]]:
    """The model that is there, with names and poses of its images."""
    path = models / "all-merged" / "all.nvm"
    if is_file(path) or not is_folder(models / _LBR_MODEL):
        return path, [(one.name, one.map_from_camera) for one in read_nvm(path)]
    model = read_given_model(models / _LBR_MODEL)
    return models / _LBR_MODEL, [(one.name, one.map_from_camera) for one in model.images]


def _queries(images: _Images) -> Iterator[QueryImage]:
    """Images to find: those of v2, else those of the lists of the first Seasons, else all, in LBR's tree."""
    root = images.root
    listing, lists = root / "robotcar_v2_test.txt", sorted((root / "queries").glob(f"*{_LIST_END}"))
    is_of_lbr = is_folder(root / "3D-models" / _LBR_MODEL)
    if is_file(listing) or not (lists or is_of_lbr):
        found = (images.place_of(row) for row in read_rows(listing))
        yield from (images.query(place) for place in found if place is not None)
    elif lists:
        for path in lists:
            yield from _listed(images, path)
    else:
        everything = (place for alike in images.by_stamp.values() for place in alike)
        yield from (images.query(place) for place in sorted(everything))


def _listed(images: _Images, path: Path) -> Iterator[QueryImage]:
    for name, camera in read_query_list(path).items():
        place = _Place(*PurePosixPath(name).with_suffix("").parts) if name.count("/") == 2 else None
        if place is None or place.condition not in CONDITIONS or place.camera not in _PRINCIPAL_POINTS:
            raise SourceError(f"{path} lists '{name}', which is no CONDITION/CAMERA/STAMP.jpg: download it again")
        if place.camera in images.cameras and place.condition not in images.missing:
            yield replace(images.query(place), camera=camera)


def _trained(images: _Images) -> Iterator[QueryImage]:
    path = images.root / "robotcar_v2_train.txt"
    for row in read_rows(path) if is_file(path) else ():
        matrix = row.numbers(1, 16, _TRAIN_FORM).reshape(4, 4)
        place = images.place_of(row)
        if place is not None:
            pose = SE3(nearest_rotation(matrix[:3, :3]), matrix[:3, 3])
            yield replace(images.query(place), map_from_camera=pose, result_name=None)


@dataclass(frozen=True)
class _Images:
    """Where the images of some cameras lie, by their stamps; the reference is none of the conditions."""

    root: Path
    cameras: Mapping[str, pycolmap.Camera]
    by_stamp: Mapping[str, list[_Place]]
    missing: tuple[str, ...]

    @staticmethod
    def of(root: Path, cameras: Mapping[str, pycolmap.Camera]) -> _Images:
        """Look what is there. Raises SourceError."""
        folder = root / "images"
        if not is_folder(folder):
            raise SourceError(f"there is no folder {folder}: name the folder of {TITLE}, all unpacked")
        names = sorted(path.name for path in folder.iterdir() if is_folder(path))
        unknown = [name for name in names if name not in (*CONDITIONS, REFERENCE)]
        if unknown:
            raise SourceError(f"{folder / unknown[0]} is no condition of {TITLE}; there are {', '.join(CONDITIONS)}")
        by_stamp: dict[str, list[_Place]] = defaultdict(list)
        for condition in names:
            for camera in cameras if condition != REFERENCE else ():
                for path in list_images(folder / condition / camera):
                    by_stamp[path.stem].append(_Place(condition, camera, path.stem))
        missing = tuple(condition for condition in CONDITIONS if condition not in names)
        return _Images(root, cameras, by_stamp, missing)

    def query(self, place: _Place) -> QueryImage:
        """The image to find at a place."""
        path, sent_as = self.root / "images" / place.name, f"{place.camera}/{place.stamp}.jpg"
        return QueryImage(place.name, path, self.cameras[place.camera], place.condition, result_name=sent_as)

    def place_of(self, row: Row) -> _Place | None:
        """Where the image of a line lies: its stamp must be there once for each camera.

        None for another camera, and for a stamp that is nowhere where conditions are missing.
        """
        name = PurePosixPath(row.words[0])
        camera = name.parent.name if name.parent.name in _PRINCIPAL_POINTS else "rear"
        found = self.by_stamp.get(name.stem, [])
        if camera not in self.cameras or (self.missing and not found):
            return None
        if sorted(place.camera for place in found) != sorted(self.cameras):
            folders = ", ".join(f"{place.condition}/{place.camera}" for place in found) or "none"
            raise SourceError(
                f"{row.path}:{row.number}: the stamp {name.stem} must be there once for each camera "
                f"({', '.join(sorted(self.cameras))}), and is in {folders}: unpack all archives of images again"
            )
        return next(place for place in found if place.camera == camera)


def _camera(principal_point: tuple[float, float]) -> pycolmap.Camera:
    params = [_FOCAL_PX, *principal_point, 0.0]
    return pycolmap.Camera(model="SIMPLE_RADIAL", width=_SIDE_PX, height=_SIDE_PX, params=params)
