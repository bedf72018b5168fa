"""Aachen Day-Night v1.1 (Sattler et al., CVPR 2018; Zhang et al., IJCV 2021). Only the server has the truth.

The model is ``3D-models/aachen_v_1_1``, or as LBR has it ``3D-models``; the images are in ``images_upright``,
``images/images_upright``, or for LBR ``images``; the queries in ``queries/day_time_queries_with_intrinsics.txt`` and
``night_time_...``. Results go by the file's name alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from visloc_field.instance_files import find_masks, with_styles
from visloc_field.listings import only_scene, read_given_model, read_query_list
from visloc_field.model_scene import images_of
from visloc_field.scene import OUTDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder

TITLE = "Aachen Day-Night v1.1"
SCENE = "aachen"
CONDITIONS = ("day", "night")
_IMAGE_FOLDERS = ("images_upright", "images/images_upright", "images")
_QUERIES = "query/"
_LIST_END = "_time_queries_with_intrinsics.txt"
MARKS = ("3D-models/aachen_v_1_1", *(f"queries/{condition}{_LIST_END}" for condition in CONDITIONS))


def read_aachen(root: Path, scenes: Sequence[str] = ()) -> list[BenchmarkScene]:
    """Read the one scene; poses are in metres, ``map_from_camera``. Raises SourceError."""
    name = only_scene(scenes, SCENE, TITLE)
    folder = _image_folder(root)
    database = with_styles(root, _database(root / "3D-models", folder), unstyled="images")
    masks = find_masks(root, database)
    return [BenchmarkScene(name, database, tuple(_queries(root, folder)), OUTDOOR, "m", masks).checked()]


def _database(models: Path, folder: Path) -> tuple[DatabaseImage, ...]:
    path = models / "aachen_v_1_1"
    if not is_folder(path):
        if not any(models.glob("*.bin")):
            raise SourceError(f"there is neither a folder {path} nor a model in {models}: unpack the model of {TITLE}")
        path = models
    images = images_of(read_given_model(path), folder)
    query = next((image.name for image in images if image.name.startswith(_QUERIES)), None)
    if query is not None:
        raise SourceError(f"the model in {path} has the query '{query}': unpack the model of {TITLE} again")
    return images


def _queries(root: Path, folder: Path) -> Iterator[QueryImage]:
    for path in _query_lists(root / "queries"):
        condition = path.name.removesuffix(_LIST_END)
        for name, camera in read_query_list(path).items():
            yield QueryImage(name, folder / name, camera, condition, result_name=PurePosixPath(name).name)


def _query_lists(folder: Path) -> list[Path]:
    """The lists, day and night, one of which may be left out. Raises SourceError for a list of anything else."""
    known = [folder / f"{condition}{_LIST_END}" for condition in CONDITIONS]
    unknown = [path for path in folder.glob(f"*{_LIST_END}") if path not in known]
    if unknown:
        raise SourceError(f"{unknown[0]} is of no condition of {TITLE} ({', '.join(CONDITIONS)}): remove it")
    there = [path for path in known if is_file(path)]
    if not there:
        raise SourceError(f"{folder} holds neither {known[0].name} nor {known[1].name}: unpack the queries again")
    return there


def _image_folder(root: Path) -> Path:
    there = [root / name for name in _IMAGE_FOLDERS if is_folder(root / name)]
    if not there:
        raise SourceError(f"there is no folder {root / _IMAGE_FOLDERS[0]}: name the folder of {TITLE}, all unpacked")
    return there[0]
