"""Meshes of scanners (GLB, glTF, PLY, OBJ, STL) beside a map: read, brought into its frame, and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file
from visloc_ros.core.geometry import Array, Sim3

SAMPLES = 20_000  # of a surface: one in 4 cm of a room


def read_mesh(path: Path) -> trimesh.Scene:
    """A mesh or a point cloud, as a scene in metres or whatever its unit is. Raises SourceError."""
    if not is_file(path):
        raise SourceError(f"there is no mesh at {path}")
    try:
        scene = trimesh.load_scene(path)
    except Exception as error:  # each format's reader has its own
        raise SourceError(f"cannot read {path} as a mesh (GLB, glTF, PLY, OBJ, STL): {error}") from error
    if not scene.geometry or not np.isfinite(scene.bounds).all():
        raise SourceError(f"{path} holds no surface and no points")
    return scene


def surface_points(scene: trimesh.Scene, seed: int = 0) -> Array:
    """Points (N, 3) spread evenly over the surfaces of a mesh, or those of a point cloud."""
    parts = scene.dump()
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and part.area > 0.0]
    clouds = [np.asarray(part.vertices) for part in parts if isinstance(part, trimesh.PointCloud)]
    if not meshes:
        points = np.concatenate(clouds) if clouds else np.empty((0, 3))
    else:
        points, _ = trimesh.sample.sample_surface(trimesh.util.concatenate(meshes), SAMPLES, seed=seed)
    points = np.asarray(points, dtype=np.float64)
    if len(points) > SAMPLES:
        points = np.random.default_rng(seed).permutation(points)[:SAMPLES]
    return points


def moved(scene: trimesh.Scene, map_from_mesh: Sim3) -> trimesh.Scene:
    """The scene in the map's frame."""
    matrix = np.eye(4)
    matrix[:3, :3] = map_from_mesh.scale * map_from_mesh.rotation
    matrix[:3, 3] = map_from_mesh.translation
    copy = scene.copy()
    copy.apply_transform(matrix)  # type: ignore[no-untyped-call]
    return copy


def as_glb(scene: trimesh.Scene) -> bytes:
    """The scene as a file that browsers read."""
    return bytes(scene.export(file_type="glb"))  # type: ignore[no-untyped-call]
