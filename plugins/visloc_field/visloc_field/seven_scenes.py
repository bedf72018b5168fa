"""7-Scenes (Shotton et al., CVPR 2013) as released: ``SCENE/seq-NN/frame-NNNNNN.color.png`` with ``.pose.txt``.

``TrainSplit.txt`` and ``TestSplit.txt`` name the sequences to map and to find, a line ``sequenceN`` for each. Where
``7scenes_sfm_triangulated/SCENE/triangulated`` lies beside the scenes, as hloc takes it, cameras and poses are those of
that model of all images, and ``list_test.txt`` in it names those to find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from visloc_field.listings import choose_scenes, read_given_model, read_rows
from visloc_field.model_scene import names_in, scene_of_model
from visloc_field.scene import INDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_folder
from visloc_ros.core.geometry import SE3
from visloc_ros.sources.datasets import read_pose_matrix, seven_scenes_camera
from visloc_ros.sources.layouts import list_images

TITLE = "7-Scenes"
SCENES = ("chess", "fire", "heads", "office", "pumpkin", "redkitchen", "stairs")
TRIANGULATED = "7scenes_sfm_triangulated"
MARKS = (*(f"{name}/TrainSplit.txt" for name in SCENES), *(f"{TRIANGULATED}/{name}" for name in SCENES))
_SEQUENCE = re.compile(r"sequence(\d+)")
_IMAGE = re.compile(r"frame-\d+\.color\.(?:png|jpg)")


def read_seven_scenes(root: Path, scenes: Sequence[str] = ()) -> list[BenchmarkScene]:
    """Read scenes, or all that are there; poses are in metres, ``map_from_camera``. Raises SourceError."""
    names = choose_scenes(root, scenes, SCENES, TITLE)
    return [_read_triangulated(root, name) or _read_scene(root / name, name) for name in names]


def _read_triangulated(root: Path, name: str) -> BenchmarkScene | None:
    folder = root / TRIANGULATED / name / "triangulated"
    if not is_folder(folder):
        return None
    model = read_given_model(folder)
    return scene_of_model(name, root / name, model, names_in(folder / "list_test.txt", model), INDOOR)


def _read_scene(folder: Path, name: str) -> BenchmarkScene:
    camera = seven_scenes_camera()
    database = [DatabaseImage(image, path, camera, pose) for image, path, pose in _images(folder, "TrainSplit.txt")]
    queries = [
        QueryImage(image, path, camera, map_from_camera=pose, result_name=image)
        for image, path, pose in _images(folder, "TestSplit.txt")
    ]
    return BenchmarkScene(name, tuple(database), tuple(queries), INDOOR)


def _images(folder: Path, split: str) -> Iterator[tuple[str, Path, SE3]]:
    """Name, path and pose of the images of a split; images without a pose are left out."""
    for row in read_rows(folder / split):
        match = _SEQUENCE.fullmatch(row.words[0])
        if match is None:
            raise row.broken("sequenceN")
        sequence = folder / f"seq-{int(match[1]):02d}"
        paths = [path for path in list_images(sequence) if _IMAGE.fullmatch(path.name)]
        if not paths:
            raise SourceError(f"{sequence} holds no frame-NNNNNN.color.png: unpack {sequence.name}.zip in {folder}")
        for path in paths:
            pose = read_pose_matrix(path.with_name(path.name.partition(".")[0] + ".pose.txt"))
            if pose is not None:
                yield f"{sequence.name}/{path.name}", path, pose
