"""Maps of the places, prepared for the search by fused descriptors; kept in the work folder."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.places import Place
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map, MapImage, open_map
from visloc_search.fused.config import FusedConfig
from visloc_search.fused.preparation import prepare_fused

_APART = 1000.0  # metres between places in one map


def fused_map(place: Place, work: Path, name: str = "default", options: Mapping[str, Any] | None = None) -> Map:
    """A copy of the place's map that is prepared with these options, under a ``name`` of their folder."""
    path = work / "fused" / name / place.name
    if not path.exists():
        place.open_map(work / "maps")
        shutil.copytree(work / "maps" / place.name, path)
    prepare_fused(path, FusedConfig.from_mapping(options or {}))
    return replace(open_map(path), name=place.name)


def merged_map(maps: Sequence[Map]) -> Map:
    """All maps in one, far apart; images are called by place, and are described again, all in the same way."""
    images: list[MapImage] = []
    points: list[Array] = []
    for row, map_ in enumerate(maps):
        offset = np.array([row * _APART, 0.0, 0.0])
        first = sum(len(one) for one in points)
        images += [_placed(image, map_.name, offset, first) for image in map_.images]
        points.append(map_.points + offset)
    models = {role: model for role, model in maps[0].manifest.models.items() if role != "global"}
    nothing = np.empty((0, 0), np.float32)
    manifest = replace(maps[0].manifest, models=models, files={}, prepared={})
    return Map("merged", manifest, tuple(images), np.concatenate(points), nothing, nothing)


def _placed(image: MapImage, name: str, offset: Array, first: int) -> MapImage:
    rows = np.where(image.point_rows == NO_POINT, NO_POINT, image.point_rows + first).astype(np.int32)
    pose = SE3(image.map_from_camera.rotation, image.map_from_camera.translation + offset)
    return replace(image, name=f"{name}/{image.name}", map_from_camera=pose, point_rows=rows)
