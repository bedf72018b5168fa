"""RobotCar Seasons v2 (Maddern et al., IJRR 2017; Sattler et al., CVPR 2018). The server keeps the truth of its test.

The database is condition ``overcast-reference``, its poses in ``3D-models/all-merged/all.nvm``.
``robotcar_v2_test.txt`` names the images to find, without their condition: it is the folder
``images/CONDITION/CAMERA`` that holds the stamp. ``robotcar_v2_train.txt`` gives poses ``map_from_camera`` (16
numbers) of other images: they can be scored here, and are no part of the result file. Results go by
``CAMERA/STAMP.jpg``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pycolmap

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.geometry import SE3, nearest_rotation
from visloc_ros.evaluation.benchmarks.listings import Row, only_scene, read_nvm, read_rows
from visloc_ros.evaluation.benchmarks.scene import OUTDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.sources.layouts import list_images

TITLE = "RobotCar Seasons v2"
SCENE = "robotcar"
REFERENCE = "overcast-reference"
CONDITIONS = (
    "dawn", "dusk", "night", "night-rain", "overcast-summer", "overcast-winter", "rain", "snow", "sun",
)  # fmt: skip
_PRINCIPAL_POINTS = {
    "rear": (508.222931, 498.187378), "right": (502.503754, 490.259033), "left": (500.107605, 511.461426),
}  # fmt: skip
_FOCAL_PX, _SIDE_PX = 400.0, 1024
_TRAIN_FORM = "NAME, and the 16 numbers of its pose"


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
    """Read the one scene; poses are in metres, ``map_from_camera``. Raises SourceError."""
    name = only_scene(scenes, SCENE, TITLE)
    cameras = {camera: _camera(point) for camera, point in _PRINCIPAL_POINTS.items()}
    places = _find_places(root / "images")
    queries = [*_tests(root, places, cameras), *_trained(root, places, cameras)]
    database = tuple(_database(root, cameras))
    return [BenchmarkScene(name, database, tuple(queries), OUTDOOR, "m").checked()]


def _database(root: Path, cameras: Mapping[str, pycolmap.Camera]) -> Iterator[DatabaseImage]:
    path = root / "3D-models" / "all-merged" / "all.nvm"
    for one in read_nvm(path):
        parts = PurePosixPath(one.name).with_suffix(".jpg").parts[-3:]  # the model calls JPEG images PNG
        if len(parts) < 3 or parts[0] != REFERENCE or parts[1] not in cameras:
            raise SourceError(f"{path} names '{one.name}', which is no {REFERENCE}/CAMERA/STAMP: download it again")
        name = "/".join(parts)
        yield DatabaseImage(name, root / "images" / name, cameras[parts[1]], one.map_from_camera)


def _tests(
    root: Path, places: Mapping[str, list[_Place]], cameras: Mapping[str, pycolmap.Camera]
) -> Iterator[QueryImage]:
    for row in read_rows(root / "robotcar_v2_test.txt"):
        place = _place_of(row, places)
        camera = cameras[place.camera]
        sent_as = f"{place.camera}/{place.stamp}.jpg"
        yield QueryImage(place.name, root / "images" / place.name, camera, place.condition, result_name=sent_as)


def _trained(
    root: Path, places: Mapping[str, list[_Place]], cameras: Mapping[str, pycolmap.Camera]
) -> Iterator[QueryImage]:
    path = root / "robotcar_v2_train.txt"
    for row in read_rows(path) if is_file(path) else ():
        matrix = row.numbers(1, 16, _TRAIN_FORM).reshape(4, 4)
        place = _place_of(row, places)
        pose = SE3(nearest_rotation(matrix[:3, :3]), matrix[:3, 3])
        yield QueryImage(place.name, root / "images" / place.name, cameras[place.camera], place.condition, pose)


def _place_of(row: Row, places: Mapping[str, list[_Place]]) -> _Place:
    """Where the image of a line lies: its stamp must be there three times, once for each camera."""
    name = PurePosixPath(row.words[0])
    camera = name.parent.name if name.parent.name in _PRINCIPAL_POINTS else "rear"
    found = places.get(name.stem, [])
    if sorted(place.camera for place in found) != sorted(_PRINCIPAL_POINTS):
        folders = ", ".join(f"{place.condition}/{place.camera}" for place in found) or "none"
        raise SourceError(
            f"{row.path}:{row.number}: the stamp {name.stem} must be there once for each of the three cameras, and is "
            f"in {folders}: unpack all archives of images again"
        )
    return next(place for place in found if place.camera == camera)


def _find_places(folder: Path) -> dict[str, list[_Place]]:
    """Where images lie, by their stamps; the reference is none of the conditions."""
    if not is_folder(folder):
        raise SourceError(f"there is no folder {folder}: name the folder of {TITLE}, all unpacked")
    names = sorted(path.name for path in folder.iterdir() if is_folder(path))
    unknown = [name for name in names if name not in (*CONDITIONS, REFERENCE)]
    if unknown:
        raise SourceError(f"{folder / unknown[0]} is no condition of {TITLE}; there are {', '.join(CONDITIONS)}")
    places: dict[str, list[_Place]] = defaultdict(list)
    for condition in names:
        for camera in _PRINCIPAL_POINTS if condition != REFERENCE else ():
            for path in list_images(folder / condition / camera):
                places[path.stem].append(_Place(condition, camera, path.stem))
    return places


def _camera(principal_point: tuple[float, float]) -> pycolmap.Camera:
    params = [_FOCAL_PX, *principal_point, 0.0]
    return pycolmap.Camera(model="SIMPLE_RADIAL", width=_SIDE_PX, height=_SIDE_PX, params=params)
