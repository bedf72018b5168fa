import shutil

import numpy as np
import pytest

from visloc_geo import large_index
from visloc_geo.large_index import LargeViewIndex, Near, Views
from visloc_ros.core.errors import GeoError
from visloc_ros.core.wgs84 import EnuFrame

FRAME = EnuFrame(52.0, 11.0)
COUNT, LENGTH = 20_500, 64


def make_views(count, seed):
    """Ten views at each place of a grid 20 m wide; those of a place are alike."""
    rng = np.random.default_rng(seed)
    places = np.repeat(np.arange(count // 10), 10)
    descriptors = np.random.default_rng(seed + 1).normal(size=(count // 10, LENGTH))[places]
    descriptors = descriptors + 0.5 * rng.normal(size=(count, LENGTH))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    metres = np.column_stack([20.0 * (places % 50), 20.0 * (places // 50), np.zeros(count)])
    return Views(descriptors.astype(np.float32), FRAME.to_geodetic(metres)[:, :2])


@pytest.fixture(scope="module")
def views():
    return make_views(COUNT, 0)


@pytest.fixture(scope="module")
def learned(views, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_index, "_CODE_BYTES", 16)  # which are learned in a quarter of the time
        LargeViewIndex.learn(folder, views.descriptors, COUNT)
    return folder


@pytest.fixture
def empty(learned, tmp_path):
    return shutil.copytree(learned, tmp_path / "index")


@pytest.fixture(scope="module")
def folder(views, learned, tmp_path_factory):
    folder = shutil.copytree(learned, tmp_path_factory.mktemp("large") / "index")
    half = COUNT // 2
    LargeViewIndex.add(folder, [Views(views.descriptors[:half], views.positions[:half])])
    LargeViewIndex.add(folder, [Views(views.descriptors[half:], views.positions[half:])])
    return folder


def noisy(views, row, seed=0):
    query = views.descriptors[row] + 0.02 * np.random.default_rng(seed).normal(size=LENGTH)
    return (query / np.linalg.norm(query)).astype(np.float32)


def test_a_view_is_found_again_whichever_part_it_is_in(folder, views):
    index = LargeViewIndex.open(folder)
    rows = np.random.default_rng(3).integers(0, COUNT, 50)
    found = [index.search(noisy(views, row), 5).rows[0] for row in rows]
    assert np.mean(found == rows) >= 0.95


def test_near_a_position_the_answer_is_that_of_comparing_all(folder, views):
    index, query = LargeViewIndex.open(folder), noisy(views, 777)
    lat, lng = views.positions[777]
    found = index.search(query, 10, Near(lat, lng, 100.0))
    metres = FRAME.from_geodetic(np.column_stack([views.positions, np.zeros(COUNT)]))
    near = np.flatnonzero(np.linalg.norm(metres - metres[777], axis=1) <= 100.0)
    expected = near[np.argsort(-(views.descriptors[near] @ query))[:10]]
    assert found.rows.tolist() == expected.tolist()
    assert found.similarities[0] == pytest.approx(float(views.descriptors[777] @ query), abs=2e-3)


def test_of_very_many_near_views_codes_choose(folder, views, monkeypatch):
    monkeypatch.setattr(large_index, "_MOST_COMPARED", 10)
    lat, lng = views.positions[777]
    found = LargeViewIndex.open(folder).search(noisy(views, 777), 1, Near(lat, lng, 100.0))
    assert found.rows.tolist() == [777]


def test_a_circle_that_holds_most_views_leaves_the_others_out(folder, views, monkeypatch):
    monkeypatch.setattr(large_index, "_MOST_LISTED", 10)
    index, (lat, lng) = LargeViewIndex.open(folder), views.positions[777]
    found = index.search(noisy(views, 777), 50, Near(lat, lng, 100.0))
    metres = FRAME.from_geodetic(np.column_stack([views.positions, np.zeros(COUNT)]))
    assert found.rows[0] == 777
    assert np.linalg.norm(metres[found.rows] - metres[777], axis=1).max() <= 100.0


def test_nothing_is_near_the_other_side_of_the_earth(folder, views):
    found = LargeViewIndex.open(folder).search(noisy(views, 1), 5, Near(-52.0, -169.0, 1000.0))
    assert len(found.rows) == 0


def test_views_are_added_in_parts_of_bounded_size(views, empty, monkeypatch):
    monkeypatch.setattr(large_index, "MOST_IN_PART", 100)
    stream = (Views(views.descriptors[row : row + 60], views.positions[row : row + 60]) for row in (0, 60, 120, 180))
    LargeViewIndex.add(empty, stream)
    assert sorted(one.name for one in empty.glob("part_*")) == ["part_0000", "part_0001"]
    index = LargeViewIndex.open(empty)
    assert len(index) == 240
    assert index.search(noisy(views, 200), 1).rows.tolist() == [200]


def test_a_failure_while_a_part_is_added_leaves_the_others(views, empty):
    def stream():
        yield Views(views.descriptors[:10], views.positions[:10])
        raise GeoError("the disk of the photos went away")

    LargeViewIndex.add(empty, [Views(views.descriptors[:60], views.positions[:60])])
    with pytest.raises(GeoError, match="went away"):
        LargeViewIndex.add(empty, stream())
    assert len(LargeViewIndex.open(empty)) == 60


@pytest.mark.parametrize("name", ["codes.faiss", "descriptors.f16", "positions.npy"])
def test_a_broken_part_is_refused(views, empty, name):
    LargeViewIndex.add(empty, [Views(views.descriptors[:60], views.positions[:60])])
    path = empty / "part_0000" / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(GeoError, match="build"):
        LargeViewIndex.open(empty)


def test_descriptors_shorter_than_a_code_are_refused(tmp_path, views):
    with pytest.raises(GeoError, match="compare all"):
        LargeViewIndex.learn(tmp_path / "short", views.descriptors[:, :63], COUNT)


def test_a_few_views_need_no_index(tmp_path, views):
    with pytest.raises(GeoError, match="compare all"):
        LargeViewIndex.learn(tmp_path / "few", views.descriptors[:100], 100)
    with pytest.raises(GeoError, match="no index"):
        LargeViewIndex.open(tmp_path)
