"""Divides the images of a component among pieces: groups of neighbouring blocks that one worker joins and adjusts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_cluster.mapping.averaging import Node
from visloc_cluster.mapping.model import Ints, Model
from visloc_cluster.mapping.partition import Block
from visloc_ros.core.geometry import Array


@dataclass(frozen=True, eq=False)
class Registered:
    """The images (M,) of a block's model, observations (M,), camera numbers (M,) and their parameters (M, K)."""

    images: Ints
    counts: Ints
    cameras: Ints
    parameters: Array

    @staticmethod
    def of(model: Model) -> Registered:
        """What is registered in a model."""
        counts = np.bincount(model.seen_by, minlength=len(model.images))
        return Registered(model.images, counts, model.cameras, model.parameters)


@dataclass(frozen=True, eq=False)
class Share:
    """The ``own`` images of a piece, and the models in which they are."""

    own: Ints
    nodes: Sequence[Node]


def divide(nodes: Iterable[Node], registered: Mapping[Node, Registered], blocks: Sequence[Block]) -> list[Share]:
    """A share of each group of blocks. Every image of the models is in one: that of its own block where that has it.

    Else in that of the model with most observations of it.
    """
    nodes = sorted(nodes)
    images = np.concatenate([registered[node].images for node in nodes])
    counts = np.concatenate([registered[node].counts for node in nodes])
    places = np.repeat(np.arange(len(nodes)), [len(registered[node].images) for node in nodes])
    is_own = np.concatenate([np.isin(registered[node].images, blocks[node[0]].own) for node in nodes])
    order = np.lexsort((places, -counts, ~is_own, images))
    best = order[np.diff(images[order], prepend=-1) != 0]
    group_of_node = np.array([blocks[block].group for block, _ in nodes])
    group_of = dict(zip(images[best].tolist(), group_of_node[places[best]].tolist(), strict=True))
    groups = np.array([group_of[image] for image in images.tolist()])
    return [
        Share(np.unique(images[groups == group]), [nodes[place] for place in np.unique(places[groups == group])])
        for group in np.unique(groups)
    ]


def middle_parameters(registered: Iterable[Registered]) -> dict[int, list[float]]:
    """The middle of the parameters that images have each camera with, by its number, padded by NaN."""
    found = list(registered)
    cameras = np.concatenate([one.cameras for one in found])
    widest = max(one.parameters.shape[1] for one in found)
    rows = np.full((len(cameras), widest), np.nan)
    begin = 0
    for one in found:
        rows[begin : begin + len(one.cameras), : one.parameters.shape[1]] = one.parameters
        begin += len(one.cameras)
    return {number: np.median(rows[cameras == number], axis=0).tolist() for number in np.unique(cameras).tolist()}


def colour(near: Sequence[Iterable[int]]) -> list[list[int]]:
    """Numbers of pieces in sets, within which none is ``near`` another one (greedy colouring)."""
    colours: dict[int, int] = {}
    for number, others in enumerate(near):
        taken = {colours[other] for other in others if other in colours}
        colours[number] = next(free for free in range(len(near)) if free not in taken)
    return [[number for number, own in colours.items() if own == one] for one in sorted(set(colours.values()))]
