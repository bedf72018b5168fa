"""Large maps made of a small one."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from benchmarks.anchor.tiling import write_tiled_map
from visloc_ros.core.map import NO_POINT, open_map
from visloc_ros.localization.descriptor_index import rank_by_descriptor

REPOSITORY = Path(__file__).resolve().parents[3]
NUM_IMAGES = 45


@pytest.fixture(scope="module")
def small():
    return open_map(REPOSITORY / "maps" / "demo_room.tar.gz")


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiled") / "large"
    write_tiled_map(path, small, NUM_IMAGES)
    return path


def test_a_tiled_map_begins_with_the_real_one(small, folder):
    large = open_map(folder)
    assert len(large.images) == NUM_IMAGES > len(small.images)
    for ours, theirs in zip(small.images, large.images, strict=False):
        assert theirs.map_from_camera.is_close(ours.map_from_camera, translation=1e-9)
        assert np.allclose(theirs.features.descriptors, ours.features.descriptors, atol=4e-3)
        assert np.array_equal(theirs.point_rows, ours.point_rows)
    assert np.array_equal(large.points[: len(small.points)], small.points)


def test_copies_see_their_own_points_from_the_same_place_elsewhere(small, folder):
    large = open_map(folder)
    original, copy = small.images[0], large.images[len(small.images)]
    seen = original.point_rows != NO_POINT
    assert np.array_equal(copy.point_rows != NO_POINT, seen)
    in_original = original.map_from_camera.inverse @ small.points[original.point_rows[seen]]
    in_copy = copy.map_from_camera.inverse @ large.points[copy.point_rows[seen]]
    assert np.allclose(in_copy, in_original)
    assert np.linalg.norm(copy.map_from_camera.translation - original.map_from_camera.translation) > 10.0


def test_copies_look_like_other_places(small, folder):
    large = open_map(folder)
    copies = range(len(small.images), NUM_IMAGES)
    for row in range(len(small.images)):
        found = rank_by_descriptor(small.global_descriptors[row], large.global_descriptors, 5)
        assert found[0] == row
        assert not set(found) & set(copies)


def test_colmap_reads_a_tiled_map(folder):
    model = pycolmap.Reconstruction(folder / "sfm")
    assert model.num_reg_images() == NUM_IMAGES
    assert model.compute_mean_reprojection_error() == pytest.approx(1.0)
    for point in model.points3D.values():
        for element in point.track.elements:
            assert model.images[element.image_id].points2D[element.point2D_idx].has_point3D()
