"""The similarity between two blocks that share images, and how far what both of them see agrees.

The rotation is that between the shared images' orientations, the scale that between the distances of the points that
both see, so that images in a row or with few points suffice; then the directions in which either block's cameras see
the other's points are fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from visloc_cluster.mapping.blocks import read_models
from visloc_cluster.mapping.model import Model
from visloc_cluster.mapping.needs import SMALL
from visloc_ros.core.geometry import (
    Array,
    Sim3,
    mean_rotation,
    rotation_angle_deg,
    rotation_matrix,
    rotation_vector,
)
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task

_LEAST_SHARED = 3  # images
_LEAST_OBSERVATIONS = 30  # of points that both see
_MOST_FITTED = 2000
_ROUNDS = 5
_LEAST_ANGLE_DEG = 0.01
_STEP = 1e-4


@dataclass(frozen=True)
class Alignment:
    """``first_from_second``, and how many of the ``common`` observations of both models agree with it.

    ``root`` (7, 7) takes a difference from it to the root mean square of what that moves these observations by, in
    pixels: scale (logarithm), rotation vector and translation in the second frame, the last over ``distance``.
    """

    first_from_second: Sim3
    agreeing: int
    common: int
    distance: float
    root: Array

    @property
    def tangent_root(self) -> Array:
        """``root`` (7, 7) for tangents in the order of ``Similarities.log``: translation, rotation, scale."""
        return np.column_stack([self.root[:, 4:] / self.distance, self.root[:, 1:4], self.root[:, 0]])

    def difference_px(self, map_from_first: Sim3, map_from_second: Sim3) -> Array:
        """How far (7,) the frames of the models are from it; its length is in pixels."""
        rest = self.first_from_second.inverse @ (map_from_first.inverse @ map_from_second)
        turn = rotation_vector(rest.rotation)
        values = np.concatenate([[np.log(rest.scale)], turn, rest.translation / self.distance])
        return np.asarray(self.root @ values)


def align_task(blocks: Sequence[str], focal_px: Sequence[float], tolerance_px: float) -> Task:
    """Align every model of one block with every one of another; ``focal_px`` of each camera by its number."""
    return Task(ALIGN, {"focal_px": list(focal_px), "tolerance_px": tolerance_px}, tuple(blocks))


def read_alignments(artifact: Artifact) -> dict[tuple[int, int], Alignment]:
    """The alignments of two blocks, by the numbers of their models."""
    found = {}
    for row in artifact["alignments"]:
        moved = Sim3(row[2], rotation_matrix(row[3:6]), row[6:9])
        one = Alignment(moved, int(row[9]), int(row[10]), float(row[11]), row[12:].reshape(7, 7))
        found[int(row[0]), int(row[1])] = one
    return found


def align(first: Model, second: Model, focal_px: Sequence[float], tolerance_px: float) -> Alignment | None:
    """Align two models, or give None where they share too little to say anything."""
    common = _Common.of(first, second, focal_px)
    if len(np.unique(common.images)) < _LEAST_SHARED or len(common.images) < _LEAST_OBSERVATIONS:
        return None
    fitted = _Fit(common, _first_guess(first, second, common)).solve(tolerance_px)
    agreeing = common.errors_px(fitted.guess) <= tolerance_px
    return Alignment(fitted.guess, int(agreeing.sum()), len(common.images), fitted.distance, fitted.root())


@dataclass(frozen=True, eq=False)
class _Common:
    """Observations (K,) that see a point in both models: the image, the points (K, 3) and camera centres (K, 3)."""

    images: NDArray[np.int64]
    first_points: Array
    first_centres: Array
    second_points: Array
    second_centres: Array
    focal_px: Array

    @staticmethod
    def of(first: Model, second: Model, focal_px: Sequence[float]) -> _Common:
        _, a, b = np.intersect1d(first.observation_keys, second.observation_keys, return_indices=True)
        image_a, image_b = first.seen_by[a], second.seen_by[b]
        return _Common(
            first.images[image_a],
            first.points[first.seen[a]],
            first.poses[image_a, 4:],
            second.points[second.seen[b]],
            second.poses[image_b, 4:],
            np.array(focal_px)[first.cameras[image_a]],
        )

    def taken(self, rows: NDArray[np.intp]) -> _Common:
        names = ("images", "first_points", "first_centres", "second_points", "second_centres", "focal_px")
        return _Common(*(getattr(self, name)[rows] for name in names))

    def residuals_px(self, first_from_second: Sim3) -> Array:
        """Differences (K, 6) between the directions to a point of either model, in pixels: each camera sees both."""
        there = first_from_second @ self.second_points - self.first_centres
        back = first_from_second.inverse @ self.first_points - self.second_centres
        own = (self.first_points - self.first_centres, self.second_points - self.second_centres)
        differences = np.hstack([_unit(there) - _unit(own[0]), _unit(back) - _unit(own[1])])
        return np.asarray(self.focal_px[:, None] * differences)

    def errors_px(self, first_from_second: Sim3) -> Array:
        """The larger of the two differences (K,)."""
        residuals = self.residuals_px(first_from_second).reshape(-1, 2, 3)
        return np.asarray(np.linalg.norm(residuals, axis=2).max(axis=1))


def _first_guess(first: Model, second: Model, common: _Common) -> Sim3:
    _, a, b = np.intersect1d(first.images, second.images, return_indices=True)
    rotations = np.array(
        [first.map_from_cameras[i].rotation @ second.map_from_cameras[j].rotation.T for i, j in zip(a, b, strict=True)]
    )
    rotation = _middle_rotation(rotations)
    distances = [
        np.linalg.norm(points - centres, axis=1)
        for points, centres in (
            (common.first_points, common.first_centres),
            (common.second_points, common.second_centres),
        )
    ]
    scale = float(np.median(distances[0] / np.maximum(distances[1], 1e-12)))
    shifts = first.poses[a, 4:] - scale * second.poses[b, 4:] @ rotation.T
    return Sim3(scale, rotation, np.median(shifts, axis=0))


def _middle_rotation(rotations: Array) -> Array:
    """The rotation with the least sum of angles to these (Weiszfeld's iterations): half of them may be wrong."""
    weights = np.ones(len(rotations))
    middle = mean_rotation(rotations, weights)
    for _ in range(_ROUNDS):
        angles = np.array([rotation_angle_deg(middle, one) for one in rotations])
        middle = mean_rotation(rotations, 1.0 / np.maximum(angles, _LEAST_ANGLE_DEG))
    return middle


class _Fit:
    """Fits a similarity to some of the common observations, evenly chosen."""

    def __init__(self, common: _Common, guess: Sim3) -> None:
        rows = np.unique(np.linspace(0, len(common.images) - 1, _MOST_FITTED).round().astype(np.intp))
        self.guess = guess
        self._common = common
        self._some = common.taken(rows)
        self.distance = float(np.median(np.linalg.norm(self._some.second_points - self._some.second_centres, axis=1)))

    def solve(self, tolerance_px: float) -> _Fit:
        """The fit that begins at the best similarity."""

        def errors(step: Array) -> Array:
            return np.asarray(np.linalg.norm(self._residuals_px(step).reshape(-1, 3), axis=1))

        best = least_squares(errors, np.zeros(7), loss="cauchy", f_scale=0.5 * tolerance_px, max_nfev=30).x
        return _Fit(self._common, self._moved(best))

    def root(self) -> Array:
        """A root (7, 7) of the information that an observation gives on average, by central differences."""
        steps = _STEP * np.eye(7)
        columns = [(self._residuals_px(step) - self._residuals_px(-step)).ravel() / (2.0 * _STEP) for step in steps]
        jacobian = np.column_stack(columns) / np.sqrt(2.0 * len(self._some.images))
        return np.asarray(np.linalg.qr(jacobian, mode="r"))

    def _moved(self, step: Array) -> Sim3:
        return self.guess @ Sim3(float(np.exp(step[0])), rotation_matrix(step[1:4]), self.distance * step[4:])

    def _residuals_px(self, step: Array) -> Array:
        return self._some.residuals_px(self._moved(step))


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _align(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    rows = []
    firsts, seconds = read_models(inputs[0]), read_models(inputs[1])
    for i, first in enumerate(firsts):
        for j, second in enumerate(seconds):
            one = align(first, second, arguments["focal_px"], arguments["tolerance_px"])
            if one is not None:
                moved = one.first_from_second
                turn = rotation_vector(moved.rotation)
                values = [one.agreeing, one.common, one.distance, *one.root.ravel()]
                rows.append([i, j, moved.scale, *turn, *moved.translation, *values])
    return {"alignments": np.array(rows, np.float64).reshape(-1, 61)}


ALIGN = Stage("align", _align, SMALL)
