"""12-Scenes (Valentin et al., 3DV 2016): ``PLACE/ROOM/data/frame-NNNNNN.color.jpg`` with ``.pose.txt``.

``split.txt`` has a line ``sequenceN [frames=COUNT] [start=FIRST ; end=LAST]`` for each sequence: the first one is to be
found, the others are mapped. ``info.txt`` holds the camera. A pose that is not finite is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pycolmap

from visloc_field.listings import choose_scenes, read_rows
from visloc_field.scene import INDOOR, BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.sources.datasets import read_pose_matrix
from visloc_ros.sources.layouts import list_images
from visloc_ros.sources.scanner_info import read_scanner_camera

TITLE = "12-Scenes"
SCENES = (
    "apt1/kitchen", "apt1/living", "apt2/bed", "apt2/kitchen", "apt2/living", "apt2/luke",
    "office1/gates362", "office1/gates381", "office1/lounge", "office1/manolis", "office2/5a", "office2/5b",
)  # fmt: skip
MARKS = tuple(f"{name}/split.txt" for name in SCENES)
_IMAGE = re.compile(r"frame-(\d+)\.color\.(?:png|jpg)")
_SEQUENCE = re.compile(r"sequence\d+ \[frames=(\d+)\] \[start=(\d+) ; end=(\d+)\]")
_SEQUENCE_FORM = "sequenceN [frames=COUNT] [start=FIRST ; end=LAST]"


def read_twelve_scenes(root: Path, scenes: Sequence[str] = ()) -> list[BenchmarkScene]:
    """Read scenes, or all that are there; poses are in metres, ``map_from_camera``. Raises SourceError."""
    return [_read_scene(root / name, name) for name in choose_scenes(root, scenes, SCENES, TITLE)]


def _read_scene(folder: Path, name: str) -> BenchmarkScene:
    camera, tests = _read_camera(folder / "info.txt"), _read_tests(folder / "split.txt")
    images = list(_images(folder / "data", tests.stop))
    database = [DatabaseImage(path.name, path, camera, pose) for number, path, pose in images if number not in tests]
    queries = [
        QueryImage(path.name, path, camera, map_from_camera=pose, result_name=path.name)
        for number, path, pose in images
        if number in tests
    ]
    return BenchmarkScene(name, tuple(database), tuple(queries), INDOOR)


def _read_tests(path: Path) -> range:
    """Numbers of the frames of the first sequence; those of all sequences must follow each other."""
    tests, end = range(0), 0
    for row in read_rows(path):
        match = _SEQUENCE.fullmatch(" ".join(row.words))
        if match is None:
            raise row.broken(_SEQUENCE_FORM)
        count, first, last = (int(number) for number in match.groups())
        if first != end or last - first + 1 != count:
            raise SourceError(f"{path}:{row.number} counts frames that do not follow each other: download it again")
        tests, end = tests or range(first, last + 1), last + 1
    if end == len(tests):
        raise SourceError(f"{path} names fewer than two sequences, one to find and others to map: download it again")
    return tests


def _images(folder: Path, least: int) -> Iterator[tuple[int, Path, SE3]]:
    """Number, path and pose of the images; those without a pose are left out."""
    numbers = {path: int(match[1]) for path in list_images(folder) if (match := _IMAGE.fullmatch(path.name))}
    twice = next((path for path, number in numbers.items() if list(numbers.values()).count(number) > 1), None)
    if twice is not None:
        raise SourceError(f"{folder} holds the frame of {twice.name} twice, in two formats: remove one of the images")
    if len(numbers) <= least:
        raise SourceError(f"{folder} holds {len(numbers)} images, fewer than its split.txt counts: unpack it again")
    for path, number in numbers.items():
        pose = read_pose_matrix(path.with_name(path.name.partition(".")[0] + ".pose.txt"))
        if pose is not None:
            yield number, path, pose


def _read_camera(path: Path) -> pycolmap.Camera:
    try:
        return read_scanner_camera(path)
    except CalibrationError as error:
        raise SourceError(f"{error}: unpack the scene again") from error
