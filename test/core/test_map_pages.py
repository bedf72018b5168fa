"""A large map is opened by its file of pages: it holds what a whole one does, and a damaged page is never used."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_map import MANIFEST

from visloc_ros.core import map as map_module
from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.feature_pages import PageCache
from visloc_ros.core.map import Map, open_map, pack_map, save_map
from visloc_ros.core.map_image import PagedImage

PAGES = "paging.h5"


@pytest.fixture(autouse=True)
def every_map_is_large(monkeypatch):
    monkeypatch.setattr(map_module, "PAGED_FROM", 1)


@pytest.fixture
def paged(broken):
    """A copy of a map whose pages are written."""
    open_map(broken)
    return broken


def flip_a_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def place_of(path: Path, values: np.ndarray) -> int:
    """Where the bytes of an array lie in a file."""
    place = path.read_bytes().find(np.ascontiguousarray(values).tobytes())
    assert place >= 0
    return place


def is_paged(map_: Map) -> bool:
    return all(isinstance(image, PagedImage) for image in map_.images)


def assert_same(one: Map, other: Map) -> None:
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(np.asarray(one.global_descriptors, np.float32), other.global_descriptors)
    assert dict(one.thumbnails) == dict(other.thumbnails)
    for a, b in zip(one.images, other.images, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.map_from_camera.matrix, b.map_from_camera.matrix)
        assert a.camera.params.tolist() == b.camera.params.tolist()
        assert np.array_equal(a.point_rows, b.point_rows)
        for name in ("keypoints", "scores", "descriptors"):
            values = getattr(a.features, name)
            assert np.array_equal(values, getattr(b.features, name))
            assert values.dtype == getattr(b.features, name).dtype
        assert a.features.image_size == b.features.image_size


class TestOpening:
    def test_a_paged_map_holds_what_the_whole_one_does(self, broken):
        folder = broken / "thumbnails"
        folder.mkdir()
        (folder / f"{open_map(broken, whole=True).images[0].name.split('.')[0]}.jpg").write_bytes(b"picture")
        whole = open_map(broken, whole=True)
        assert not (broken / PAGES).exists()
        for _ in ("written", "read"):
            opened = open_map(broken)
            assert is_paged(opened)
            assert not is_paged(whole)
            assert_same(opened, whole)

    def test_a_map_of_stock_hloc_is_paged_too(self, broken):
        (broken / "manifest.json").unlink()
        (broken / "features.h5").rename(broken / "feats-superpoint-n4096-r1024.h5")
        whole = open_map(broken, whole=True)
        assert_same(open_map(broken), whole)
        assert is_paged(open_map(broken))
        (broken / "sfm" / "cameras.bin").touch()  # another version of its files, as far as one can tell
        assert_same(open_map(broken), whole)

    def test_files_of_stock_hloc_that_have_other_bytes_make_new_pages_whatever_their_times(self, broken):
        (broken / "manifest.json").unlink()
        (broken / "features.h5").rename(broken / "feats-superpoint-n4096-r1024.h5")
        before = open_map(broken).points
        assert is_paged(open_map(broken))
        path = broken / "sfm" / "points3D.bin"
        state = path.stat()
        flip_a_byte(path, place_of(path, before[3]))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert np.array_equal(open_map(broken).points, open_map(broken, whole=True).points)
        assert not np.array_equal(open_map(broken).points, before)

    def test_another_version_of_the_map_does_not_use_the_pages(self, parts, paged):
        reconstruction, features, descriptors, centroids = parts
        name = next(iter(features))
        changed = replace(features[name], scores=features[name].scores[::-1])
        pages = (paged / PAGES).read_bytes()
        save_map(paged, reconstruction, {**features, name: changed}, descriptors, centroids, MANIFEST, overwrite=True)
        (paged / PAGES).write_bytes(pages)
        image = next(image for image in open_map(paged).images if image.name == name)
        assert np.allclose(image.features.scores, changed.scores, atol=1e-3)

    def test_where_no_file_can_be_written_the_map_is_whole(self, broken, monkeypatch):
        (broken / f".{PAGES}.partial").write_text("in the way")
        assert not is_paged(open_map(broken))

    def test_an_archive_holds_no_pages(self, paged, tmp_path):
        opened = open_map(pack_map(paged, tmp_path / "room.tar.gz"))
        assert not is_paged(opened)
        assert_same(opened, open_map(paged, whole=True))

    def test_a_small_map_has_no_pages(self, broken, monkeypatch):
        monkeypatch.setattr(map_module, "PAGED_FROM", 7)
        assert not is_paged(open_map(broken))
        assert not (broken / PAGES).exists()


class TestDamage:
    @pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
    def test_truncated_pages_are_made_again(self, paged, share):
        whole, path = open_map(paged, whole=True), paged / PAGES
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        assert_same(open_map(paged), whole)

    def test_damaged_pages_are_made_again(self, paged):
        whole, path = open_map(paged, whole=True), paged / PAGES
        content = path.read_bytes()
        for at in range(0, len(content), 97):
            flip_a_byte(path, at)
            assert_same(open_map(paged), whole)
            path.write_bytes(content)

    def test_damaged_features_are_an_error_where_they_are_used(self, paged):
        whole = open_map(paged, whole=True)
        keypoints = whole.images[2].features.keypoints - 0.5
        flip_a_byte(paged / "features.h5", place_of(paged / "features.h5", keypoints))
        opened = open_map(paged)
        assert np.array_equal(opened.images[1].features.keypoints, whole.images[1].features.keypoints)
        with pytest.raises(MapError, match=rf"features\.h5 is damaged at '{opened.images[2].name}'"):
            _ = opened.images[2].features
        with pytest.raises(MapError, match=r"features\.h5 has changed since the map was built"):
            open_map(paged, whole=True)

    @pytest.mark.parametrize("name", ["features.h5", "sfm/points3D.bin", "vlad.h5"])
    def test_a_file_of_another_size_is_refused_at_opening(self, paged, name):
        with (paged / name).open("ab") as file:
            file.write(b"\0")
        with pytest.raises(MapError, match=Path(name).name):
            open_map(paged)

    def test_files_that_are_read_at_opening_are_compared_with_their_checksums(self, paged):
        flip_a_byte(paged / "sfm" / "cameras.bin", 50)
        with pytest.raises(MapError, match=r"cameras\.bin has changed"):
            open_map(paged)

    def test_pages_that_lead_out_of_the_map_are_refused(self, paged, tmp_path):
        (paged / PAGES).rename(tmp_path / "elsewhere.h5")
        (paged / PAGES).symlink_to(tmp_path / "elsewhere.h5")
        with pytest.raises(MapError, match="leads out of"):
            open_map(paged)


class TestReplacedMap:
    def test_features_are_those_of_the_map_that_was_opened(self, paged, parts):
        whole, opened = open_map(paged, whole=True), open_map(paged)
        reconstruction, features, descriptors, centroids = parts
        others = {name: replace(one, scores=one.scores[::-1]) for name, one in features.items()}
        save_map(paged, reconstruction, others, descriptors, centroids, MANIFEST, overwrite=True)
        assert_same(opened, whole)

    def test_thumbnails_of_another_map_are_not_taken(self, broken, tmp_path):
        name = open_map(broken, whole=True).images[0].name
        for folder in (broken, tmp_path / "other"):
            (folder / "thumbnails").mkdir(parents=True)
            (folder / "thumbnails" / f"{name.split('.')[0]}.jpg").write_bytes(folder.name.encode())
        opened = open_map(broken)
        assert opened.thumbnails[name] == b"broken"
        shutil.rmtree(broken)
        shutil.copytree(tmp_path / "other", broken)
        with pytest.raises(MapError, match="cannot read"):
            _ = opened.thumbnails[name]


class TestMemory:
    @staticmethod
    def page(number_of_bytes):
        keypoints = np.zeros((number_of_bytes // 8, 2), np.float32)
        return LocalFeatures(keypoints, np.empty(0, np.float32), np.empty((0, 1), np.float32), (1, 1))

    def test_pages_used_longest_ago_leave_where_bytes_run_out(self):
        cache, reads = PageCache(100 << 10, 2), []

        def get(key):
            return cache.get(key, lambda: reads.append(key) or self.page(40 << 10))

        for key in ("a", "b", "a", "c", "a", "b"):
            get(key)
        assert reads == ["a", "b", "c", "b"]

    def test_a_few_large_pages_stay(self):
        cache, reads = PageCache(1 << 10, 3), []
        for key in "abcabc":
            cache.get(key, lambda key=key: reads.append(key) or self.page(40 << 10))
        assert reads == ["a", "b", "c"]

    def test_two_maps_do_not_share_pages(self, paged, tmp_path):
        shutil.copytree(paged, tmp_path / "other")
        one, other = open_map(paged), open_map(tmp_path / "other")
        assert one.images[0].features is one.images[0].features
        assert one.images[0].features is not other.images[0].features
