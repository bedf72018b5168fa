"""A map is found in a mesh of the same place under an unknown similarity, and in no other place's."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Sim3, rotation_angle_deg
from visloc_ros.mapping.alignment.mesh import FEWEST_POINTS, align_with_mesh


def room(seed):
    """Walls with furniture at random."""
    random = np.random.default_rng(seed)
    parts = [trimesh.creation.box((6.0, 4.0, 2.6))]
    for _ in range(8):
        size = random.uniform(0.3, 1.4, 3)
        box = trimesh.creation.box(size)
        box.apply_translation([*random.uniform([-2.5, -1.6], [2.5, 1.6]), size[2] / 2 - 1.3])
        parts.append(box)
    return trimesh.util.concatenate(parts)


def scanned(seed, count=4_000):
    return np.asarray(trimesh.sample.sample_surface(room(seed), count, seed=seed)[0])


def mapped(seed):
    """What structure from motion has of it: patches with texture, 1 cm of noise, a tenth of the points astray."""
    random = np.random.default_rng(seed)
    points = np.asarray(trimesh.sample.sample_surface(room(seed), 30_000, seed=seed + 100)[0])
    patches = points[random.permutation(len(points))[:60]]
    near = np.min(np.linalg.norm(points[:, None] - patches[None], axis=2), axis=1) < 0.5
    points = points[near][:2500]
    points += random.normal(0.0, 0.01, points.shape)
    points[::10] += random.normal(0.0, 0.6, points[::10].shape)
    return points


def test_a_unknown_similarity_is_found():
    random = np.random.default_rng(3)
    rotation = Rotation.random(random_state=3).as_matrix()
    mesh_from_map = Sim3(random.uniform(0.2, 5.0), rotation, random.normal(0.0, 5.0, 3))
    points = mesh_from_map.inverse @ mapped(3)
    fit = align_with_mesh(scanned(3), points)
    assert abs(fit.mesh_from_map.scale / mesh_from_map.scale - 1.0) < 0.01
    assert rotation_angle_deg(fit.mesh_from_map.rotation, rotation) < 1.0
    assert np.linalg.norm(fit.mesh_from_map @ points - mesh_from_map @ points, axis=1).max() < 0.05


def test_a_map_of_another_place_is_refused():
    cloud = np.random.default_rng(0).normal(0.0, 1.0, (300, 3))
    with pytest.raises(MapError, match="does not lie on the mesh"):
        align_with_mesh(scanned(0, 1_000), cloud)


def test_too_few_points_are_refused():
    with pytest.raises(MapError, match=f"{FEWEST_POINTS} points"):
        align_with_mesh(scanned(0), np.zeros((10, 3)))
