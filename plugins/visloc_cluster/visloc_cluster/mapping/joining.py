"""One model of several in one frame: each image once, points that share an observation joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from visloc_cluster.mapping.averaging import BlockFrames
from visloc_cluster.mapping.blocks import read_models
from visloc_cluster.mapping.division import Share
from visloc_cluster.mapping.model import Ints, Model, pose_values
from visloc_cluster.mapping.needs import SMALL
from visloc_cluster.mapping.pieces import Piece, cut
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task


def join_task(
    share: Share, component: BlockFrames, parameters: Mapping[int, Sequence[float]], blocks: Sequence[str]
) -> Task:
    """Join what the images of a share see in the models of a component; ``blocks`` are the results of all blocks.

    ``parameters`` of every camera by its number are those of the whole component.
    """
    used = sorted({block for block, _ in share.nodes})
    models = []
    for block, number in share.nodes:
        frame = component.map_from_blocks[block, number]
        pose = pose_values(SE3(frame.rotation, frame.translation))
        models.append([used.index(block), number, frame.scale, *pose])
    cameras = [[number, values] for number, values in sorted(parameters.items())]
    arguments = {"models": models, "own": share.own.tolist(), "cameras": cameras}
    return Task(JOIN, arguments, tuple(blocks[block] for block in used))


def join(models: Sequence[Model]) -> Model:
    """One model of those of one frame.

    An image that several have takes the pose of the one in which it sees most points. Points with a common observation
    become one, in their middle, weighed by their observations; where that then sees one image twice, the first
    observation counts.
    """
    images, poses, cameras, parameters = _images(models)
    starts = np.cumsum([0, *(len(model.points) for model in models)])
    keys = np.concatenate([model.observation_keys for model in models])
    seen = np.concatenate([model.seen + start for model, start in zip(models, starts[:-1], strict=True)])
    observing = np.concatenate([model.images[model.seen_by] for model in models])
    keypoints = np.concatenate([model.keypoints for model in models])
    pixels = np.concatenate([model.pixels for model in models])
    points = np.concatenate([model.points for model in models])

    labels = _same_points(keys, seen, len(points))
    weights = np.bincount(seen, minlength=len(points)).astype(np.float64)
    total = np.maximum(np.bincount(labels, weights), 1e-12)
    middles = np.column_stack([np.bincount(labels, weights * points[:, axis]) for axis in range(3)]) / total[:, None]

    tracks = labels[seen]
    _, first = np.unique(np.column_stack([observing, tracks]), axis=0, return_index=True)
    first = first[np.lexsort((keypoints[first], observing[first]))]
    is_new = np.diff(keys[first], prepend=-1) != 0
    first = first[is_new]
    used, rows = np.unique(tracks[first], return_inverse=True)
    seen_by = np.searchsorted(images, observing[first])
    return Model(
        images, poses, cameras, parameters, middles[used], seen_by.astype(np.int64), keypoints[first],
        rows.astype(np.int64), pixels[first],
    )  # fmt: skip


def _images(models: Sequence[Model]) -> tuple[Ints, Array, Ints, Array]:
    """Each image once: rows, poses, cameras, and their parameters."""
    counts = [np.bincount(model.seen_by, minlength=len(model.images)) for model in models]
    images = np.concatenate([model.images for model in models])
    order = np.lexsort((np.arange(len(images)), -np.concatenate(counts), images))
    best = order[np.diff(images[order], prepend=-1) != 0]
    poses = np.concatenate([model.poses for model in models])
    cameras = np.concatenate([model.cameras for model in models])
    widest = max(model.parameters.shape[1] for model in models)
    parameters = np.concatenate(
        [
            np.pad(model.parameters, ((0, 0), (0, widest - model.parameters.shape[1])), constant_values=np.nan)
            for model in models
        ]
    )
    return images[best], poses[best], cameras[best], parameters[best]


def _same_points(keys: NDArray[np.int64], seen: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """A number for each point, equal where points share an observation, directly or by others."""
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(np.diff(keys[order]) == 0)
    links = seen[order[again]], seen[order[again + 1]]
    graph = coo_array((np.ones(len(again)), links), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.intp)


def _join(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    own, parameters = np.array(arguments["own"]), dict(arguments["cameras"])
    parts: list[Model] = []
    models: list[Model] = []
    opened = -1
    for place, number, scale, *pose in arguments["models"]:
        if place != opened:
            models, opened = read_models(inputs[place]), place
        part = models[number]
        part = replace(part, parameters=np.array([parameters[camera] for camera in part.cameras.tolist()]))
        parts.append(part.moved(Sim3.from_se3(SE3.from_quaternion(pose[:4], pose[4:]), scale)))
    return Piece(own, cut(join(parts), own)).arrays()


JOIN = Stage("join", _join, SMALL)
