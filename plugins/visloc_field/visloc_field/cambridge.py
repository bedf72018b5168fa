"""Cambridge Landmarks (Kendall et al., ICCV 2015), as released or with the retriangulated models that hloc takes.

As released, ``SCENE/dataset_train.txt`` and ``dataset_test.txt`` hold, after three lines of heading, the image, the
camera centre in the map and the quaternion (scalar first) of ``camera_from_map``; ``reconstruction.nvm`` holds focal
lengths. Where ``CambridgeLandmarks_Colmap_Retriangulated_1024px/SCENE`` lies beside the scenes, cameras and poses are
those of its model ``empty_all``, which has every image; ``list_db.txt`` or ``list_query.txt`` divide them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pycolmap

from visloc_field.listings import (
    NvmCamera,
    choose_scenes,
    pose_of,
    read_given_model,
    read_nvm,
    read_query_list,
    read_rows,
)
from visloc_field.model_scene import names_in, scene_of_model
from visloc_field.scene import OUTDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.colmap_model import ColmapModel
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.geometry import SE3

TITLE = "Cambridge Landmarks"
SCENES = ("GreatCourt", "KingsCollege", "OldHospital", "ShopFacade", "StMarysChurch")
RETRIANGULATED = "CambridgeLandmarks_Colmap_Retriangulated_1024px"
MARKS = (*(f"{name}/dataset_train.txt" for name in SCENES), *(f"{RETRIANGULATED}/{name}" for name in SCENES))
QUERY_LIST = "query_list_with_intrinsics.txt"
_SIZE = (1920, 1080)  # of the images as released
_HEADING = "ImageFile"
_FORM = "IMAGE X Y Z QW QX QY QZ"


def read_cambridge(root: Path, scenes: Sequence[str] = ()) -> list[BenchmarkScene]:
    """Read scenes, or all that are there; poses are in metres, ``map_from_camera``. Raises SourceError.

    A camera may be that of the image in another size: ``open_images`` scales it.
    """
    names = choose_scenes(root, scenes, SCENES, TITLE)
    return [_read_retriangulated(root, name) or _read_released(root / name, name) for name in names]


def _read_released(folder: Path, name: str) -> BenchmarkScene:
    cameras = {_stem(camera.name): _camera(camera) for camera in read_nvm(folder / "reconstruction.nvm")}

    def images(listing: str) -> Iterator[tuple[str, Path, pycolmap.Camera, SE3]]:
        for image, pose in _read_poses(folder / listing):
            camera = cameras.get(_stem(image))
            if camera is None:
                raise SourceError(f"{folder / 'reconstruction.nvm'} has no camera of '{image}': download it again")
            yield image, folder / image, camera, pose

    database = [DatabaseImage(*image) for image in images("dataset_train.txt")]
    queries = [
        QueryImage(image, path, camera, map_from_camera=pose, result_name=image)
        for image, path, camera, pose in images("dataset_test.txt")
    ]
    return BenchmarkScene(name, tuple(database), tuple(queries), OUTDOOR).checked()


def _read_poses(path: Path) -> Iterator[tuple[str, SE3]]:
    """Image names and ``map_from_camera``."""
    is_heading = True
    for row in read_rows(path):
        if is_heading:
            is_heading = not row.words[0].startswith(_HEADING)
            continue
        values = row.numbers(1, 7, _FORM)
        camera_from_map = pose_of(row, values[[3, 4, 5, 6, 0, 1, 2]], _FORM)
        yield row.words[0], SE3(camera_from_map.rotation.T, values[:3])
    if is_heading:
        raise SourceError(f"{path} has no heading '{_HEADING}, Camera Position [X Y Z W P Q R]': download it again")


def _camera(of_nvm: NvmCamera) -> pycolmap.Camera:
    """COLMAP's camera; VisualSFM's distortion undoes what COLMAP's does, which changes its sign to first order."""
    params = [of_nvm.focal_px, _SIZE[0] / 2, _SIZE[1] / 2, -of_nvm.distortion]
    return pycolmap.Camera(model="SIMPLE_RADIAL", width=_SIZE[0], height=_SIZE[1], params=params)


def _stem(name: str) -> str:
    """Name without its suffix: the model calls PNG images JPEG."""
    return PurePosixPath(name).with_suffix("").as_posix()


def _read_retriangulated(root: Path, name: str) -> BenchmarkScene | None:
    folder = root / RETRIANGULATED / name
    if not is_folder(folder):
        return None
    model = read_given_model(folder / "empty_all")
    queries = _query_names(folder, model)
    query_list = root / name / QUERY_LIST
    given = read_query_list(query_list) if is_file(query_list) else {}
    cameras = {image: camera for image, camera in given.items() if image in queries}
    return scene_of_model(name, root / name, model, queries, OUTDOOR, cameras)


def _query_names(folder: Path, model: ColmapModel) -> set[str]:
    """Names of the images of the model that are to be found."""
    listing = next((folder / name for name in ("list_query.txt", "list_db.txt") if is_file(folder / name)), None)
    if listing is None:
        raise SourceError(f"{folder} has neither list_query.txt nor list_db.txt: unpack the models again")
    names = names_in(listing, model)
    return names if listing.name == "list_query.txt" else {image.name for image in model.images} - names
