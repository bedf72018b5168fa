"""Aligns a map with a mesh of the same place by a similarity, without a first guess.

Trimmed iterative closest points (Chetverikov et al. 2002, "The trimmed iterative closest point algorithm") with a
similarity (Umeyama 1991) in each step. Pairs go both ways first: those from the map alone fit best where the map has
shrunk onto one point of the mesh. Near the end these are better: a mesh has walls without a point of the map.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array, Sim3, rotation_matrix, umeyama

KEPT = 0.8  # of the pairs, the closest: the mesh may lack a wall, and maps have stray points
STEPS, COARSE_STEPS = 50, 12
COARSE_POINTS = 1000  # to choose among the starts
FINALISTS = 6
CONVERGED = 1e-6  # of the scene's size
FEWEST_POINTS = 50
WORST_ERROR = 0.005  # of the mesh's size, beyond the distance of its own points: 2 cm in a room of 4 m


@dataclass(frozen=True, eq=False)
class MeshFit:
    """``mesh_from_map``, and the mean distance to the mesh of the map's points that are kept, in units of the mesh."""

    mesh_from_map: Sim3
    residual: float


def align_with_mesh(mesh_points: Array, map_points: Array) -> MeshFit:
    """Find ``mesh_from_map`` from points (N, 3) on the mesh and points (M, 3) of the map.

    Raises MapError where there are too few points, or where they do not come to lie on each other.
    """
    if min(len(mesh_points), len(map_points)) < FEWEST_POINTS:
        raise MapError(f"a mesh and a map of {FEWEST_POINTS} points or more are needed to align them")
    random = np.random.default_rng(0)
    few_of_mesh, few_of_map = (
        points[random.permutation(len(points))[:COARSE_POINTS]] for points in (mesh_points, map_points)
    )
    coarse = _Pairing(few_of_mesh, few_of_map)
    rough = sorted((coarse.refined(start, COARSE_STEPS) for start in _starts(few_of_mesh, few_of_map)), key=_residual)
    fine = _Pairing(mesh_points, map_points)
    finals = (fine.refined(one.mesh_from_map, STEPS) for one in rough[:FINALISTS])
    fit = min((fine.refined(one.mesh_from_map, STEPS, both_ways=False) for one in finals), key=_residual)
    worst = fine.spacing + WORST_ERROR * fine.size
    if not fit.residual <= worst:
        raise MapError(
            f"the map does not lie on the mesh: {KEPT:.0%} of its points come to {fit.residual:.3g} of it in the mean, "
            f"in units of the mesh, where {worst:.3g} is near enough; are they of one place?"
        )
    return fit


def _residual(fit: MeshFit) -> float:
    return fit.residual


def _starts(mesh_points: Array, map_points: Array) -> list[Sim3]:
    """The 24 ways in which the main axes of one can lie on those of the other, and turned by 30 degrees about each.

    Centres and sizes are brought together as they are: the map may show a part of the place only, the mesh another.
    """
    mesh_centre, mesh_size, mesh_axes = _spread(mesh_points)
    map_centre, map_size, map_axes = _spread(map_points)
    scale = mesh_size / map_size
    starts, turns = [], np.pi / 6 * np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
        if np.linalg.det(turn) > 0.0:
            for half in map(rotation_matrix, turns):
                rotation = mesh_axes @ half @ turn @ map_axes.T
                starts.append(Sim3(scale, rotation, mesh_centre - scale * rotation @ map_centre))
    return starts


def _spread(points: Array) -> tuple[Array, float, Array]:
    """Centre, size and main axes (columns, right-handed) of points, stray ones left out."""
    centre = np.median(points, axis=0)
    distances = np.linalg.norm(points - centre, axis=1)
    near = points[distances <= np.quantile(distances, 0.9)]
    centre = near.mean(axis=0)
    axes = np.linalg.svd(near - centre, full_matrices=False)[2].T
    axes = axes * [1.0, 1.0, np.sign(np.linalg.det(axes))]
    return centre, float(np.sqrt(np.mean(np.sum((near - centre) ** 2, axis=1)))), axes


def _nearest(tree: cKDTree, points: Array) -> tuple[Array, NDArray[np.intp]]:
    """Distances (N,) to the nearest points of a tree, and their rows."""
    distances, rows = tree.query(points)
    return np.asarray(distances), np.asarray(rows)


class _Pairing:
    """Closest pairs of points of a mesh (N, 3) and of a map (M, 3)."""

    def __init__(self, mesh_points: Array, map_points: Array) -> None:
        self._mesh, self._map, self._tree = mesh_points, map_points, cKDTree(mesh_points)
        self.size = _spread(mesh_points)[1]
        self.spacing = float(np.asarray(self._tree.query(mesh_points, k=2)[0])[:, 1].mean())

    def refined(self, start: Sim3, steps: int, both_ways: bool = True) -> MeshFit:
        """The fit that a start leads to."""
        fit, before = start, np.inf
        for _ in range(steps):
            of_mesh, of_map, residual = self._closest_of_map(fit)
            if abs(before - residual) < CONVERGED * self.size:
                break
            if both_ways:
                more_of_mesh, more_of_map = self._closest_of_mesh(fit)
                of_mesh, of_map = np.concatenate([of_mesh, more_of_mesh]), np.concatenate([of_map, more_of_map])
            fit, before = umeyama(of_mesh, of_map), residual
        return MeshFit(fit, self._closest_of_map(fit)[2])

    def _closest_of_map(self, fit: Sim3) -> tuple[Array, Array, float]:
        """Points of the mesh and of the map, where the map's are closest to the mesh, and their mean distance."""
        distances, rows = _nearest(self._tree, fit @ self._map)
        near = np.argsort(distances)[: int(KEPT * len(distances))]
        return self._mesh[rows[near]], self._map[near], float(distances[near].mean())

    def _closest_of_mesh(self, fit: Sim3) -> tuple[Array, Array]:
        distances, rows = _nearest(cKDTree(fit @ self._map), self._mesh)
        near = np.argsort(distances)[: int(KEPT * len(distances))]
        return self._mesh[near], self._map[rows[near]]
