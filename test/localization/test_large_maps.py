"""A large map, whose features are read where they are searched, gives the poses of one in memory, and no wrong ones."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, World, is_right, near_image, unit

from visloc_ros.core import map as map_module
from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import write_manifest
from visloc_ros.core.map import open_map, save_map
from visloc_ros.core.map_image import PagedImage
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.descriptor_index import DescriptorIndex, rank_by_descriptor
from visloc_ros.map_tracking import MapTracker

ROWS, LENGTH = 3000, 256


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def folder(world, tmp_path, monkeypatch):
    """The world's map on disk, with its pages."""
    monkeypatch.setattr(map_module, "PAGED_FROM", 1)
    images = world.map.images
    features = {image.name: image.features for image in images}
    descriptors = dict(zip(features, world.map.global_descriptors, strict=True))
    path, known = tmp_path / "map", world.map.manifest
    saved = save_map(path, world.reconstruction, features, descriptors, world.map.vlad_centroids, known)
    write_manifest(path, replace(saved, uncertainty=known.uncertainty))
    open_map(path)
    return path


@pytest.fixture
def mapped(tmp_path):
    """Unit rows in half precision, mapped from a file: 300 places, of which each looks alike in ten rows."""
    rng = np.random.default_rng(0)
    rows = unit(np.repeat(rng.normal(size=(ROWS // 10, LENGTH)), 10, axis=0) + rng.normal(size=(ROWS, LENGTH)))
    rows.astype(np.float16).tofile(tmp_path / "rows")
    return np.memmap(tmp_path / "rows", np.float16, "r", shape=rows.shape)


def test_poses_are_those_of_the_map_in_memory(world, folder):
    pose = near_image(world)
    features = world.view(pose)
    answers = []
    for whole in (True, False):
        map_ = open_map(folder, whole=whole)
        engine = AnchorEngine(map_, extractor=FakeExtractor(features), matcher=MATCHER)
        answers.append(engine.localize(world.frame()))
        MapTracker(map_)
    assert isinstance(map_.images[0], PagedImage)
    assert all(is_right(answer, pose, 0.02) for answer in answers)
    assert answers[0].map_from_camera.is_close(answers[1].map_from_camera)


def test_an_image_that_only_damaged_pages_show_is_an_error_and_no_pose(world, folder):
    features = world.view(near_image(world))
    _, *others = [image.name for image in open_map(folder).images]  # an engine reads the first when it opens
    with h5py.File(folder / "features.h5", "r+") as file:
        for name in others:
            file[name]["keypoints"][...] += 40.0
    engine = AnchorEngine(open_map(folder), extractor=FakeExtractor(features), matcher=MATCHER)
    with pytest.raises(MapError, match=r"features\.h5 is damaged at"):
        engine.localize(world.frame())


def test_the_most_similar_images_are_found_by_eight_bits_a_number(mapped):
    exact, index = np.asarray(mapped, np.float32), DescriptorIndex(mapped)
    rng, found = np.random.default_rng(1), 0
    for row in rng.choice(ROWS, 50, replace=False):
        query = unit(exact[row : row + 1] + 0.05 * rng.normal(size=(1, LENGTH)))[0]
        found += len(set(index.rank(query, 10)) & set(rank_by_descriptor(query, exact, 10)))
    assert found >= 0.98 * 50 * 10
    assert np.array_equal(index[7], exact[7])


@pytest.mark.parametrize("of_file", [True, False])
def test_a_search_of_some_images_gives_no_others(mapped, of_file):
    index = DescriptorIndex(mapped if of_file else np.asarray(mapped, np.float32))
    query = np.asarray(mapped[40], np.float32)
    assert set(index.rank(query, 5, np.array([3, 40, 2000]))) == {3, 40, 2000}
    assert index.rank(query, 1, np.array([3, 40, 2000])) == [40]
    assert index.rank(query, 5, np.array([], np.int64)) == []
