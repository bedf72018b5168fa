"""Images of a COLMAP model as those of a scene: of its database alone, or of all its images, which a list divides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pycolmap

from visloc_field.listings import read_rows
from visloc_field.scene import BenchmarkScene, DatabaseImage, QueryImage, Thresholds
from visloc_ros.core.colmap_model import ColmapModel
from visloc_ros.core.errors import SourceError


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


def images_of(
    model: ColmapModel, folder: Path, cameras: Mapping[str, pycolmap.Camera] | None = None
) -> tuple[DatabaseImage, ...]:
    """Images in ``folder`` at the model's poses [m], with its cameras where ``cameras`` has no other, by name."""
    given = cameras or {}
    return tuple(
        DatabaseImage(
            one.name, folder / one.name, given.get(one.name, model.cameras[one.camera_id]), one.map_from_camera
        )
        for one in model.images
    )


def scene_of_model(
    name: str,
    folder: Path,
    model: ColmapModel,
    queries: set[str],
    thresholds: Thresholds,
    cameras: Mapping[str, pycolmap.Camera] | None = None,
) -> BenchmarkScene:
    """The scene of all images of a model, as ``images_of`` gives them. Raises SourceError where images are missing."""
    images = images_of(model, folder, cameras)
    database = tuple(one for one in images if one.name not in queries)
    sought = tuple(
        QueryImage(one.name, one.path, one.camera, map_from_camera=one.map_from_camera, result_name=one.name)
        for one in images
        if one.name in queries
    )
    return BenchmarkScene(name, database, sought, thresholds).checked()
