"""A scene by a COLMAP model of all its images, database and queries, and a list that divides them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pycolmap

from visloc_ros.core.colmap_model import ColmapModel
from visloc_ros.core.errors import SourceError
from visloc_ros.evaluation.benchmarks.listings import read_rows
from visloc_ros.evaluation.benchmarks.scene import BenchmarkScene, DatabaseImage, QueryImage, Thresholds


def names_in(listing: Path, model: ColmapModel) -> set[str]:
    """Names of images of a model, a line for each. Raises SourceError for one that is unknown or listed twice."""
    known, names = {image.name for image in model.images}, set[str]()
    for row in read_rows(listing):
        image = row.words[0]
        if image not in known or image in names:
            problem = "twice" if image in names else "which its model does not have"
            raise SourceError(f"{listing}:{row.number} lists the image '{image}' {problem}: unpack the models again")
        names.add(image)
    return names


def scene_of_model(
    name: str,
    folder: Path,
    model: ColmapModel,
    queries: set[str],
    thresholds: Thresholds,
    cameras: Mapping[str, pycolmap.Camera] | None = None,
) -> BenchmarkScene:
    """The scene of images in ``folder`` at the model's poses [m], with its cameras where ``cameras`` has no other.

    Raises SourceError where images are missing.
    """
    given = {image.name: model.cameras[image.camera_id] for image in model.images} | dict(cameras or {})
    database = [
        DatabaseImage(one.name, folder / one.name, given[one.name], one.map_from_camera)
        for one in model.images
        if one.name not in queries
    ]
    sought = [
        QueryImage(one.name, folder / one.name, given[one.name], "", one.map_from_camera, one.name)
        for one in model.images
        if one.name in queries
    ]
    return BenchmarkScene(name, tuple(database), tuple(sought), thresholds).checked()
