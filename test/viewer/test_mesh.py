"""Meshes as scanners write them, and what is none."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import Sim3
from visloc_ros.viewer.mesh import SAMPLES, as_glb, moved, read_mesh, surface_points


@pytest.fixture
def scene():
    """Two boxes, one of them placed by a node of the scene."""
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1.0, 1.0, 1.0)))
    aside = trimesh.transformations.translation_matrix([4, 0, 0])
    scene.add_geometry(trimesh.creation.box((1.0, 1.0, 1.0)), transform=aside)
    return scene


@pytest.mark.parametrize("kind", ["glb", "ply", "obj", "stl"])
def test_each_format_is_read_with_its_parts_in_place(scene, tmp_path, kind):
    path = tmp_path / f"scan.{kind}"
    (scene if kind == "glb" else scene.to_mesh()).export(path)
    points = surface_points(read_mesh(path))
    assert points.shape == (SAMPLES, 3)
    assert np.allclose([points.min(axis=0), points.max(axis=0)], [[-0.5] * 3, [4.5, 0.5, 0.5]], atol=0.02)
    assert 0.45 < np.mean(points[:, 0] > 2.0) < 0.55


def test_a_cloud_of_points_is_one_too(tmp_path):
    points = np.random.default_rng(0).uniform(size=(500, 3))
    trimesh.PointCloud(points).export(tmp_path / "cloud.ply")
    read = surface_points(read_mesh(tmp_path / "cloud.ply"))
    assert np.allclose(read[np.lexsort(read.T)], points[np.lexsort(points.T)], atol=1e-6)


def test_a_mesh_is_moved_into_the_map(scene, tmp_path):
    map_from_mesh = Sim3(0.5, Rotation.from_euler("z", 90, degrees=True).as_matrix(), [1.0, 2.0, 3.0])
    path = tmp_path / "moved.glb"
    path.write_bytes(as_glb(moved(scene, map_from_mesh)))
    corners = np.array([map_from_mesh @ np.array(corner) for corner in ([-0.5, -0.5, -0.5], [4.5, 0.5, 0.5])])
    assert np.allclose(read_mesh(path).bounds, [corners.min(axis=0), corners.max(axis=0)], atol=1e-6)


@pytest.mark.parametrize(("name", "data"), [("scan.glb", b"glTF"), ("scan.txt", b"hello"), ("scan.ply", b"ply\n")])
def test_what_is_no_mesh_says_so(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match="cannot read"):
        read_mesh(tmp_path / name)
    with pytest.raises(SourceError, match="no mesh at"):
        read_mesh(tmp_path / "missing.glb")
