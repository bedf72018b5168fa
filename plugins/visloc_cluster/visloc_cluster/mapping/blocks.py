"""Tasks that reconstruct one block of the view graph: poses and points of its images in a frame of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pycolmap

from visloc_cluster.mapping.adjustment import adjust
from visloc_cluster.mapping.geometries import unpack_matches, write_geometries
from visloc_cluster.mapping.matching import Place, ViewGraph
from visloc_cluster.mapping.model import Model, model_of, pose_values
from visloc_cluster.mapping.needs import SMALL
from visloc_cluster.mapping.partition import Block
from visloc_cluster.mapping.shards import Shard
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.temporary_folder import temporary_folder
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.mapping.components import without_covered
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.mappers import MapperTask, quiet_colmap, run_mapper
from visloc_ros.mapping.pairs import Pair
from visloc_ros.mapping.reconstruction import triangulate_at_known_poses
from visloc_ros.mapping.sfm_database import DATABASE_NAME, SfmImage, add_views, calibrated_ids, write_database

_LEAST_MODEL = 3  # images: fewer have no shape of their own


def block_task(
    block: Block,
    graph: ViewGraph,
    places: Sequence[Place],
    cameras: Sequence[int],
    shards: Sequence[str],
    matches: Sequence[str],
    config: ReconstructionConfig,
    poses: Sequence[SE3] | None,
) -> Task:
    """Reconstruct a block; with ``poses`` of all images, points are triangulated at them.

    ``cameras`` are numbers of the images' cameras. The task reads the shards of its images and the results of
    ``matches`` that hold its pairs.
    """
    rows = block.images.tolist()
    pairs = graph.among(rows)
    used_shards = sorted({places[row][0] for row in rows})
    used_matches = sorted(set(graph.tasks[pairs].tolist()))
    shard_of = {shard: number for number, shard in enumerate(used_shards)}
    match_of = {task: number + len(used_shards) for number, task in enumerate(used_matches)}
    arguments = {
        "images": [[row, shard_of[places[row][0]], places[row][1], cameras[row]] for row in rows],
        "pairs": [[*graph.pairs[k].tolist(), match_of[int(graph.tasks[k])], int(graph.places[k])] for k in pairs],
        "reconstruction": config.to_mapping(),
        "poses": None if poses is None else [pose_values(poses[row]) for row in rows],
    }
    keys = [*(shards[one] for one in used_shards), *(matches[one] for one in used_matches)]
    return Task(RECONSTRUCT, arguments, tuple(keys))


def read_models(artifact: Artifact) -> list[Model]:
    """The models of a block, the largest first; none where no images could be joined."""
    return [Model.from_arrays(artifact, f"{number}/") for number in range(int(artifact["count"]))]


def _reconstruct(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    views = _read_views(arguments["images"], inputs)
    order = {image[0]: number for number, image in enumerate(arguments["images"])}
    verified = _read_pairs(arguments["pairs"], order, inputs)
    config = replace(ReconstructionConfig.from_mapping(arguments["reconstruction"]), threads=1)
    if arguments["poses"] is None:
        found = _from_motion(views, verified, config)
    else:
        poses = [SE3.from_quaternion(values[:4], values[4:]) for values in arguments["poses"]]
        matches = {pair: unpack_matches(packed, [place])[0] for pair, (packed, place) in verified.items()}
        try:
            found = [triangulate_at_known_poses(views, poses, matches, config)]
        except MapError as error:
            raise MapError(f"images {views[0].name} to {views[-1].name}: {error}") from error
    rows = {view.name: image[0] for view, image in zip(views, arguments["images"], strict=True)}
    cameras = {view.name: image[3] for view, image in zip(views, arguments["images"], strict=True)}
    models = [model_of(one, rows, cameras) for one in found if one.num_reg_images() >= _LEAST_MODEL]
    if arguments["poses"] is None:  # the mapper ends before all of a block fits as well as it can
        kinds = {image[3]: view.camera for view, image in zip(views, arguments["images"], strict=True)}
        models = [adjust(model, kinds, config) for model in models]
    arrays: dict[str, Any] = {"count": np.array(len(models))}
    for number, model in enumerate(models):
        arrays |= model.arrays(f"{number}/")
    return arrays


def _from_motion(
    views: Sequence[SfmImage], verified: Mapping[Pair, tuple[Artifact, int]], config: ReconstructionConfig
) -> list[pycolmap.Reconstruction]:
    blank = pycolmap.Reconstruction()
    image_ids = add_views(blank, views)
    calibrated = calibrated_ids(blank, views, image_ids)
    with quiet_colmap(), temporary_folder("sfm") as folder:
        database = folder / DATABASE_NAME
        write_database(database, blank, image_ids, {})
        write_geometries(database, image_ids, verified)
        task = MapperTask(database, len(views), dict(blank.cameras), calibrated, lambda: None)
        return without_covered(run_mapper(task, config).models)


def _read_views(images: Sequence[Sequence[int]], inputs: Inputs) -> list[SfmImage]:
    """Keypoints and cameras of images, a shard at a time; images of one camera number share the object."""
    views: dict[int, SfmImage] = {}
    cameras: dict[int, MapCamera] = {}
    for place in sorted({image[1] for image in images}):
        shard = Shard(inputs[place])
        for row, _, own, camera in (image for image in images if image[1] == place):
            shared = cameras.setdefault(camera, shard.cameras[own])
            views[row] = SfmImage(str(shard.arrays["names"][own]), shard.features(own).keypoints.copy(), shared)
    return [replace(views[image[0]], name=f"{image[0]}:{views[image[0]].name}") for image in images]


def _read_pairs(
    pairs: Sequence[Sequence[int]], order: Mapping[int, int], inputs: Inputs
) -> dict[Pair, tuple[Artifact, int]]:
    artifacts = {number: inputs[number] for number in sorted({pair[2] for pair in pairs})}
    return {(order[i], order[j]): (artifacts[number], place) for i, j, number, place in pairs}


RECONSTRUCT = Stage("reconstruct", _reconstruct, SMALL)
