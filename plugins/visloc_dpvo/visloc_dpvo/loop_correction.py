"""Corrects the poses by a measured loop: the graph of all frames up to it, and its result in the state (Lipson et al.
2024).

Frames from ``safe`` on, one after the latest frame of any loop, stay as they are in place and scale; everything before
is bent until the loop closes.

The graph joins cameras by relative similarities, and is solved for scale drift as well. Variables are
``camera_from_world`` similarities, the unknown scale being that of each camera's unit of length. All edges weigh the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from visloc_dpvo.loops import normalise
from visloc_dpvo.places import Hit
from visloc_dpvo.state import DpvoState
from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.similarities import Similarities
from visloc_ros.core.similarity_graph import LinearisedGraph, SimilarityEdges

MAX_ITERATIONS = 30
_MIN_ITERATIONS, _SETTLED_STEPS, _SETTLED_RATIO = 5, 4, 1.5
_SMALL_MEAN_SQUARE = 1e-5
_FIRST_DAMPING = 1e-6


@dataclass(frozen=True, eq=False)
class LoopCorrection:
    """New ``world_from_camera`` of the frames from number ``first`` on, their scale that of their depths.

    ``loop`` was closed. ``poses`` (S + 1, 7) are the earlier poses of the frames and of the first one that stays.
    """

    loop: Hit
    first: int
    poses: NDArray[np.float32]
    world_from_camera: Similarities


def close_loop(
    first: int, poses: NDArray[np.float32], loop: Hit, place_from_query: Sim3, earlier: Sequence[Hit] = ()
) -> LoopCorrection:
    """Bend the frames numbered from ``first`` with ``poses`` (N, 7), N > loop.query + 1 - first, so that a loop closes.

    ``place_from_query`` is measured between the two cameras; ``earlier`` loops hold as they are.
    """
    held = [row for row in earlier if min(row) >= first]
    safe = max(max(row) for row in [*held, loop]) + 1 - first
    poses = poses[: safe + 1]
    cameras = _similarities(poses)
    queries, places = (np.array([row[side] - first for row in held], dtype=np.intp) for side in (0, 1))
    measured = SimilarityEdges(
        np.array([loop.query - first]), np.array([loop.place - first]), Similarities.stack(place_from_query)
    )
    edges = [chain_edges(cameras), SimilarityEdges.between(cameras, queries, places), measured]
    result = optimise(cameras, SimilarityEdges.concatenate(*edges), fixed=safe)
    return LoopCorrection(loop, first, poses, result.cameras.inverse.take(slice(0, safe)))


def apply_correction(state: DpvoState, correction: LoopCorrection) -> bool:
    """Write the correction into the state; False, and nothing changes, where its poses have changed since.

    Frames that were forgotten meanwhile keep their poses.
    """
    gone = state.num_forgotten - correction.first
    count = len(correction.world_from_camera) - gone
    before = torch.from_numpy(correction.poses[gone:]).to(state.device)
    if count <= 0 or not torch.equal(state.poses[: count + 1], before):
        return False
    corrected = correction.world_from_camera.take(slice(gone, None))
    state.poses[:count] = torch.from_numpy(_rows(corrected)).to(state.poses)
    factors = state.poses.new_ones(state.num_frames)
    factors[:count] = torch.from_numpy(corrected.scales).to(state.poses)
    state.rescale(factors)
    normalise(state)
    return True


def _similarities(poses: NDArray[np.float32]) -> Similarities:
    rows = poses.astype(np.float64)
    return Similarities.from_poses(Rotation.from_quat(rows[:, 3:]).as_matrix(), rows[:, :3])


def _rows(world_from_camera: Similarities) -> NDArray[np.float64]:
    """Rigid camera_from_world (N, 7): the scales are left out."""
    rotations = world_from_camera.rotations
    rigid = Similarities.from_poses(rotations, world_from_camera.translations).inverse
    return np.column_stack((rigid.translations, Rotation.from_matrix(rigid.rotations).as_quat()))


@dataclass(frozen=True, eq=False)
class PoseGraphResult:
    """Adjusted ``camera_from_world``, and the mean squared residual before, after each step, and at the end."""

    cameras: Similarities
    mean_squares: tuple[float, ...]


def chain_edges(cameras: Similarities) -> SimilarityEdges:
    """Edges from every camera to the one before it, as odometry holds them."""
    later = np.arange(1, len(cameras))
    return SimilarityEdges.between(cameras, later, later - 1)


def optimise(cameras: Similarities, edges: SimilarityEdges, fixed: int) -> PoseGraphResult:
    """Levenberg-Marquardt over all cameras but the ``fixed`` row, which holds place, orientation and scale.

    ``cameras`` are the start. Steps that do not lower the mean squared residual are not taken.
    """
    system = LinearisedGraph(edges, len(cameras), fixed)
    residuals = edges.residuals(cameras)
    history, damping = [_mean_square(residuals)], _FIRST_DAMPING
    for _ in range(MAX_ITERATIONS):
        candidate = Similarities.exp(system.step(residuals, damping)) @ cameras
        candidate_residuals = edges.residuals(candidate)
        if _mean_square(candidate_residuals) < history[-1]:
            cameras, residuals, damping = candidate, candidate_residuals, damping / 2.0
        else:
            damping *= 2.0
        history.append(_mean_square(residuals))
        if _has_settled(history):
            break
    return PoseGraphResult(cameras, tuple(history))


def _mean_square(residuals: Array) -> float:
    return float(np.square(residuals).mean())


def _has_settled(history: list[float]) -> bool:
    """Stop once the residual is small and hardly falls; a residual of zero has nowhere to fall."""
    if history[-1] == 0.0:
        return True
    if len(history) <= _MIN_ITERATIONS or history[-1] >= _SMALL_MEAN_SQUARE:
        return False
    return history[-1 - _SETTLED_STEPS] < _SETTLED_RATIO * history[-1]
