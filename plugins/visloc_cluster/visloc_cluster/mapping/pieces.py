"""Pieces of a model for the adjustment: some images that may move, with all that sees the same points.

No worker holds the whole model. Pieces of which none sees a point of another's images are adjusted side by side, the
others hold still meanwhile: block coordinate descent, whose memory does not grow with the model (Eriksson et al., CVPR
2016, split the problem likewise). A piece also has observations of other pieces' images; before it is adjusted, their
poses are read from the pieces that own them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_cluster.mapping.model import Ints, Model
from visloc_ros.execution.store import Artifact

_LEAST_TRACK = 2


@dataclass(frozen=True, eq=False)
class Piece:
    """The points that the images ``own`` see, and all images that see them; all pieces have one frame."""

    own: Ints
    model: Model

    @staticmethod
    def from_arrays(arrays: Artifact) -> Piece:
        """The piece of ``arrays``."""
        return Piece(arrays["own"], Model.from_arrays(arrays))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name."""
        return {"own": self.own, **self.model.arrays()}

    @property
    def others(self) -> Ints:
        """Images of other pieces."""
        return np.setdiff1d(self.model.images, self.own)

    def agreeing_with(self, others: Iterable[Piece]) -> Piece:
        """The piece with the poses that other pieces have of their own images, and what observations they have left."""
        model, poses = self.model, self.model.poses.copy()
        kept = np.isin(model.images, self.own)[model.seen_by]
        for other in others:
            _, here, there = np.intersect1d(model.images, other.model.images, return_indices=True)
            is_its_own = np.isin(other.model.images[there], other.own)
            poses[here[is_its_own]] = other.model.poses[there[is_its_own]]
            seen_by_own = np.isin(other.model.images, other.own)[other.model.seen_by]
            kept |= np.isin(model.observation_keys, other.model.observation_keys[seen_by_own])
        return Piece(self.own, taken(replace(model, poses=poses), kept))

    def with_adjusted(self, adjusted: Model) -> Piece:
        """The piece with the points and own poses of its adjusted model, and what own observations that has left.

        Those of other images stay: they are dropped by the pieces that own these.
        """
        model = self.model
        is_own = np.isin(model.images, self.own)
        rows = np.searchsorted(model.observation_keys, adjusted.observation_keys)
        points, poses = model.points.copy(), model.poses.copy()
        points[model.seen[rows]] = adjusted.points[adjusted.seen]
        kept = ~is_own[model.seen_by]
        kept[rows] = True
        _, here, there = np.intersect1d(model.images, adjusted.images, return_indices=True)
        moved = is_own[here]
        poses[here[moved]] = adjusted.poses[there[moved]]
        return Piece(self.own, cut(taken(replace(model, poses=poses, points=points), kept), self.own))

    def without_weak_images(self, least: int) -> Piece:
        """The piece without own images of which fewer than so many observations are left."""
        model = self.model
        is_weak = np.bincount(model.seen_by, minlength=len(model.images)) < least
        is_weak &= np.isin(model.images, self.own)
        return Piece(self.own, taken(model, ~is_weak[model.seen_by])) if is_weak.any() else self


def cut(model: Model, own: Ints) -> Model:
    """The part of a model that the images ``own`` see, with all images that see the same points."""
    is_own = np.isin(model.images, own)[model.seen_by]
    inside = np.zeros(len(model.points), bool)
    inside[model.seen[is_own]] = True
    return taken(model, inside[model.seen])


def taken(model: Model, kept: NDArray[np.bool_]) -> Model:
    """The model with these observations, but those of points that one image alone sees, and what they need."""
    counts = np.bincount(model.seen[kept], minlength=len(model.points))
    kept = kept & (counts[model.seen] >= _LEAST_TRACK)
    points, seen = np.unique(model.seen[kept], return_inverse=True)
    images, seen_by = np.unique(model.seen_by[kept], return_inverse=True)
    return Model(
        model.images[images], model.poses[images], model.cameras[images], model.parameters[images],
        model.points[points], seen_by.astype(np.int64), model.keypoints[kept], seen.astype(np.int64),
        model.pixels[kept],
    )  # fmt: skip


def all_agreeing(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces of one model, each agreeing with the others that share images with it."""
    return [
        piece.agreeing_with(pieces[number] for number in near)
        for piece, near in zip(pieces, neighbours(pieces), strict=True)
    ]


def neighbours(pieces: Iterable[Piece]) -> list[list[int]]:
    """For each piece the numbers of those that share images with it."""
    owns, others = [], []
    for piece in pieces:
        owns.append(piece.own)
        others.append(piece.others)
    owner = np.full(1 + max(int(own[-1]) for own in owns), -1)
    for number, own in enumerate(owns):
        owner[own] = number
    near: list[set[int]] = [set(owner[images].tolist()) for images in others]
    for number, found in enumerate(list(near)):
        for other in found:
            near[other].add(number)
    return [sorted(found) for found in near]
