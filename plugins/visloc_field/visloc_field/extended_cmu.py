"""Extended CMU Seasons (Badino et al. 2011; Sattler et al., CVPR 2018). Only the server has the truth of test slices.

``sliceN/{sparse,database,query}``: a COLMAP model, the images it is of, and those to find, all of them or the ones
listed in ``test-images-sliceN.txt``. Which camera took an image is the third field of its name, ``c0`` or ``c1``;
their intrinsics are in ``intrinsics.txt`` where that is there. Results of all slices go in one file, by the file's
name alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pycolmap

from visloc_field.listings import choose_scenes, read_given_model, read_query_list, read_rows
from visloc_field.model_scene import images_of
from visloc_field.scene import OUTDOOR, BenchmarkScene, QueryImage
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file
from visloc_ros.sources.layouts import list_images

TITLE = "Extended CMU Seasons"
CONDITIONS = {"urban": (2, 3, 4, 5, 6), "suburban": (13, 14, 15, 16, 17), "park": (18, 19, 20, 21)}
SCENES = tuple(f"slice{number}" for numbers in CONDITIONS.values() for number in numbers)
MARKS = tuple(f"{name}/sparse" for name in SCENES)
_CONDITION_OF = {f"slice{number}": condition for condition, numbers in CONDITIONS.items() for number in numbers}
_SIZE = (1024, 768)
_PARAMS = {
    "c0": (868.993378, 866.063001, 525.942323, 420.042529, -0.399431, 0.188924, 0.000153, 0.000571),
    "c1": (873.382641, 876.489513, 529.324138, 397.272397, -0.397066, 0.181925, 0.000176, -0.000579),
}


def read_extended_cmu(root: Path, scenes: Sequence[str] = ()) -> list[BenchmarkScene]:
    """Read slices, or all test slices that are there; poses are in metres, ``map_from_camera``. Raises SourceError."""
    names = choose_scenes(root, scenes, SCENES, TITLE)
    cameras = _read_cameras(root / "intrinsics.txt")
    return [_read_slice(root / name, name, cameras) for name in names]


def _read_slice(folder: Path, name: str, cameras: Mapping[str, pycolmap.Camera]) -> BenchmarkScene:
    database = images_of(read_given_model(folder / "sparse"), folder / "database")
    queries = [
        QueryImage(image, folder / "query" / image, camera, _CONDITION_OF[name], result_name=image)
        for image, camera in _queries(folder, name, cameras)
    ]
    return BenchmarkScene(name, database, tuple(queries), OUTDOOR, "m").checked()


def _queries(folder: Path, name: str, cameras: Mapping[str, pycolmap.Camera]) -> Iterator[tuple[str, pycolmap.Camera]]:
    listing = folder / f"test-images-{name}.txt"
    if is_file(listing):
        names = [row.words[0] for row in read_rows(listing)]
    else:
        names = [path.name for path in list_images(folder / "query")]
    for image in names:
        fields = image.split("_")
        if len(fields) < 3 or fields[2] not in cameras:
            raise SourceError(
                f"the name of {folder / 'query' / image} names no camera, as img_NUMBER_c0_STAMP.jpg does"
            )
        yield image, cameras[fields[2]]


def _read_cameras(path: Path) -> Mapping[str, pycolmap.Camera]:
    """Both cameras by their names, from the file or as published."""
    if not is_file(path):
        return {
            name: pycolmap.Camera(model="OPENCV", width=_SIZE[0], height=_SIZE[1], params=params)
            for name, params in _PARAMS.items()
        }
    cameras = read_query_list(path)
    if set(cameras) != set(_PARAMS):
        raise SourceError(f"{path} must list the cameras {' and '.join(_PARAMS)}, a line for each: download it again")
    return cameras
