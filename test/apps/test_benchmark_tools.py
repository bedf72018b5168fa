"""What the benchmarks build on: large maps made of a small one, and results files written section by section."""

import sys
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.map import NO_POINT, open_map
from visloc_ros.localization.retrieval import rank_by_descriptor

REPOSITORY = Path(__file__).resolve().parents[2]
NUM_IMAGES = 45


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_on_the_path():
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    yield
    sys.path.remove(str(REPOSITORY / "benchmarks"))


@pytest.fixture(scope="module")
def small():
    return open_map(REPOSITORY / "maps" / "demo_room.tar.gz")


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    from tiling import write_tiled_map

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


def test_a_section_replaces_its_older_self_and_leaves_the_others(tmp_path):
    from results_file import put_section

    path = tmp_path / "anchor.md"
    put_section(path, "Stages", "first")
    put_section(path, "Scaling", "100 images\n\n### detail\n\nmore")
    put_section(path, "Stages", "second")
    assert path.read_text() == "# Anchor\n\n## Stages\n\nsecond\n\n## Scaling\n\n100 images\n\n### detail\n\nmore\n"


def test_a_table_has_as_many_columns_everywhere():
    from results_file import table

    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
