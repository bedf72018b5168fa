"""Retrieval among very many images finds what an exact search does, and keeps what it has learned for one map."""

import shutil

import h5py
import numpy as np
import pytest
from synthetic_map import unit

from visloc_ros.core.feature_files import opened
from visloc_ros.localization import descriptor_index, listed_descriptors
from visloc_ros.localization.descriptor_index import DescriptorIndex
from visloc_ros.localization.listed_descriptors import exact_ranks, open_lists

ROWS, LENGTH, SOUGHT = 10_240, 64, 10


def write_pages(folder, rows, checksum=1):
    """The part of a map's file of pages that retrieval reads."""
    folder.mkdir()
    with h5py.File(folder / "paging.h5", "w") as file:
        file["global_descriptors"] = rows.astype(np.float16)
        file["checksum"] = np.full(32, checksum, np.uint8)


def mapped(folder):
    with opened(folder / "paging.h5") as file:
        return file.mapped("global_descriptors", np.dtype(np.float16))


@pytest.fixture(scope="module")
def rows():
    """Ten images of each place look alike."""
    rng = np.random.default_rng(0)
    return unit(np.repeat(rng.normal(size=(ROWS // 10, LENGTH)), 10, axis=0) + 0.5 * rng.normal(size=(ROWS, LENGTH)))


@pytest.fixture(scope="module")
def learned(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned") / "map"
    write_pages(folder, rows)
    assert open_lists(mapped(folder)) is not None
    return folder


@pytest.fixture
def folder(learned, tmp_path, monkeypatch):
    monkeypatch.setattr(descriptor_index, "MOST_COMPARED", 1000)
    return shutil.copytree(learned, tmp_path / "map")


@pytest.fixture
def never_learned(monkeypatch):
    monkeypatch.setattr(listed_descriptors, "learn", None)


def test_nearly_all_of_the_most_similar_images_are_found(folder, rows, never_learned):
    index, rng = DescriptorIndex(mapped(folder)), np.random.default_rng(1)
    queries = unit(rows[::200] + 0.05 * rng.normal(size=rows[::200].shape))
    exact = exact_ranks(rows, queries, SOUGHT)
    found = [index.rank(query, SOUGHT) for query in queries]
    assert [one[0] for one in found] == [one[0] for one in exact] == list(range(0, ROWS, 200))
    assert sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)) >= 0.98 * SOUGHT * len(queries)


def test_a_search_of_some_images_gives_no_others(folder, rows, never_learned):
    index = DescriptorIndex(mapped(folder))
    assert set(index.rank(rows[40], 5, np.arange(2000, 4000))) <= set(range(2000, 4000))
    assert index.rank(rows[40], 1, np.arange(30, 2000)) == [40]
    assert index.rank(rows[40], 1, np.array([3, 40, 2000])) == [40]


def test_the_exact_search_is_that_of_sorting(rows):
    similarity = rows[:3] @ rows.T
    assert exact_ranks(rows, rows[:3], 7) == np.argsort(-similarity, axis=1)[:, :7].tolist()


@pytest.mark.parametrize("share", [None, 0.5, 0.99])
def test_what_was_learned_of_another_map_or_is_broken_is_learned_again(folder, rows, share):
    kept = folder / "lists.h5"
    content = kept.read_bytes()
    if share is None:
        shutil.rmtree(folder)
        write_pages(folder, rows[::-1], checksum=2)
        kept.write_bytes(content)
    else:
        kept.write_bytes(content[: int(share * len(content))])
    assert DescriptorIndex(mapped(folder)).rank(rows[40], 1) == [40 if share else ROWS - 41]
    assert kept.read_bytes() != content or share is not None


def test_images_without_any_likeness_are_all_compared(tmp_path, monkeypatch):
    """Reduced descriptors of random ones say little: the measured recall tells, and nothing is lost."""
    monkeypatch.setattr(descriptor_index, "MOST_COMPARED", 1000)
    monkeypatch.setattr(listed_descriptors, "_REDUCED", 8)
    rows = unit(np.random.default_rng(0).normal(size=(ROWS, LENGTH)))
    write_pages(tmp_path / "map", rows)
    index = DescriptorIndex(mapped(tmp_path / "map"))
    found = [index.rank(query, SOUGHT) for query in rows[:20]]
    exact = exact_ranks(rows, rows[:20], SOUGHT)
    assert sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)) >= 0.98 * SOUGHT * 20
