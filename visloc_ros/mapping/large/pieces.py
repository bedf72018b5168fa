"""Pieces of a model for the adjustment: some images that may move, with all that sees the same points; and back again.

Pieces of which none sees a point of another's images are adjusted side by side, the others hold still meanwhile: block
coordinate descent, whose memory does not grow with the model (Eriksson et al., CVPR 2016, split the problem likewise).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.mapping.large.model import Ints, Model

_LEAST_TRACK = 2


def cut(model: Model, own: Ints) -> Model:
    """The part of a model that the images ``own`` see, with all images that see the same points."""
    is_own = np.isin(model.images, own)[model.seen_by]
    inside = np.zeros(len(model.points), bool)
    inside[model.seen[is_own]] = True
    return _taken(model, inside[model.seen])


def paste(model: Model, pieces: Sequence[tuple[Ints, Model]]) -> Model:
    """The model with what pieces, no two of which see a common point, say of their own images and of their points.

    Observations of a piece's own images that it has dropped are dropped, then points that one image alone sees.
    """
    owner = np.full(len(model.images), -1)
    for number, (own, _) in enumerate(pieces):
        owner[np.isin(model.images, own)] = number
    kept = owner[model.seen_by] < 0
    poses, points = model.poses.copy(), model.points.copy()
    for number, (_, piece) in enumerate(pieces):
        rows = np.searchsorted(model.observation_keys, piece.observation_keys)
        points[model.seen[rows]] = piece.points[piece.seen]
        kept[rows[owner[model.seen_by[rows]] == number]] = True
        images = np.searchsorted(model.images, piece.images)
        moved = owner[images] == number
        poses[images[moved]] = piece.poses[moved]
    counts = np.bincount(model.seen[kept], minlength=len(points))
    return _taken(replace(model, poses=poses, points=points), kept & (counts[model.seen] >= _LEAST_TRACK))


def colour(model: Model, groups: Sequence[Ints]) -> list[list[int]]:
    """Numbers of groups of images in sets, within which no two groups see a common point (greedy colouring)."""
    group_of = np.full(int(model.images[-1]) + 1, -1)
    for number, images in enumerate(groups):
        group_of[images] = number
    sees = np.unique(np.column_stack([model.seen, group_of[model.images[model.seen_by]]]), axis=0)
    near: dict[int, set[int]] = {number: set() for number in range(len(groups))}
    for same in np.split(sees[:, 1], np.flatnonzero(np.diff(sees[:, 0])) + 1):
        for number in same.tolist():
            near[number].update(same.tolist())
    colours: dict[int, int] = {}
    for number in range(len(groups)):
        taken = {colours[other] for other in near[number] if other in colours}
        colours[number] = next(free for free in range(len(groups)) if free not in taken)
    return [
        [number for number, own in colours.items() if own == one]
        for one in range(max(colours.values(), default=-1) + 1)
    ]


def paste_task(model: str, groups: Sequence[Ints], adjusted: Sequence[str]) -> Task:
    """Put adjusted pieces back, each with the images that moved in it."""
    return Task(PASTE, {"own": [images.tolist() for images in groups]}, (model, *adjusted))


def _taken(model: Model, kept: NDArray[np.bool_]) -> Model:
    """The model with these observations, and what they need."""
    points, seen = np.unique(model.seen[kept], return_inverse=True)
    images, seen_by = np.unique(model.seen_by[kept], return_inverse=True)
    return Model(
        model.images[images], model.poses[images], model.cameras[images], model.parameters[images],
        model.points[points], seen_by.astype(np.int64), model.keypoints[kept], seen.astype(np.int64),
        model.pixels[kept],
    )  # fmt: skip


def _paste(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    adjusted = [Model.from_arrays(one) for one in inputs[1:]]
    owns = [np.array(images, np.int64) for images in arguments["own"]]
    return paste(Model.from_arrays(inputs[0]), list(zip(owns, adjusted, strict=True))).arrays()


PASTE = Stage("paste", 1, _paste)
