"""A large map, whose features are read where they are searched, gives the poses of one in memory, and no wrong ones."""

import gc
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
from synthetic_map import MATCHER, FakeExtractor, World, is_right, near_image, unit

from visloc_ros.core import feature_pages
from visloc_ros.core import map as map_module
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import carried_on
from visloc_ros.core.manifest import write_manifest
from visloc_ros.core.map import open_map, save_map
from visloc_ros.core.map_image import PagedImage
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import GuidedConfig
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
    with pytest.raises(MapError, match=r"features\.h5 is damaged at"):
        AnchorEngine(open_map(folder), extractor=FakeExtractor(features), matcher=MATCHER).localize(world.frame())


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


@pytest.fixture
def reads(monkeypatch):
    """The images whose features are read from the file, with the name of the thread that does it."""
    made = []
    read = feature_pages.read_features_of

    def recorded(file, name, size):
        made.append((name, threading.current_thread().name))
        return read(file, name, size)

    monkeypatch.setattr(feature_pages, "read_features_of", recorded)
    return made


def drive(engine, world, poses, seconds_apart=1):
    for row, pose in enumerate(poses):
        frame = replace(world.frame(), stamp_ns=(1 + row * seconds_apart) * NANOSECONDS)
        assert is_right(engine.localize(frame, features=world.view(pose)), pose)


class TestReadingAhead:
    @pytest.fixture
    def world(self):
        return World(images=32)  # eight are read as samples of all

    @pytest.fixture
    def engine(self, folder, reads):
        config = AnchorConfig(top_k=1, guided=GuidedConfig(references=1))
        return AnchorEngine(open_map(folder), config, FakeExtractor(None), MATCHER)

    def test_what_the_camera_will_see_is_read_before_it_is_asked_for(self, world, engine, reads):
        before, now = (near_image(world, row) for row in (2, 3))
        ahead = carried_on(before, now, 1.0)
        expected = {engine.map.images[row].name for row in engine._searcher.overlap.rank(ahead, world.camera, 2)}
        assert not expected <= {name for name, _ in reads}  # when the engine was made
        drive(engine, world, [before, now])
        engine._prefetcher._reading.result(10.0)
        assert expected <= {name for name, _ in reads}
        assert expected & {name for name, thread in reads if thread != "MainThread"}
        reads.clear()
        engine.localize(world.frame(), ahead, world.view(ahead))
        assert not expected & {name for name, _ in reads}

    def test_nothing_is_read_for_photos_apart(self, world, engine, reads):
        drive(engine, world, [near_image(world, row) for row in (2, 3)], seconds_apart=60)
        assert engine._prefetcher._reading is None
        assert {thread for _, thread in reads} == {"MainThread"}

    def test_the_reader_ends_with_its_engine(self, world, folder):
        engine = AnchorEngine(open_map(folder), AnchorConfig(top_k=1), FakeExtractor(None), MATCHER)
        drive(engine, world, [near_image(world, row) for row in (2, 3)])
        (thread,) = engine._prefetcher._pool._threads
        assert thread.is_alive()
        del engine
        gc.collect()
        thread.join(5.0)
        assert not thread.is_alive()
