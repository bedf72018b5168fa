import numpy as np
import pytest

from visloc_geo.config import GeoConfig
from visloc_geo.diffusion import diffused_scores
from visloc_geo.retrieval import ViewIndex, places
from visloc_geo.solving.types import Tag

PLAIN = GeoConfig(rerank=False)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def make_index(similarities, positions, panoramas=None):
    """Views whose similarities to the query (1, 0, 0, ...) are given."""
    cosines = np.asarray(similarities)
    descriptors = np.zeros((len(cosines), 1 + len(cosines)), np.float32)
    descriptors[:, 0] = cosines
    descriptors[np.arange(len(cosines)), 1 + np.arange(len(cosines))] = np.sqrt(1 - cosines**2)
    count = len(cosines)
    return ViewIndex(descriptors, np.asarray(positions, float), np.full(count, 3.0), panoramas or [None] * count)


def query_of(index):
    return np.eye(1, index.descriptors.shape[1], dtype=np.float32)[0]


def test_views_come_by_similarity_and_exclude_those_that_resemble_nothing():
    index = make_index([0.3, 0.9, 0.0, 0.6], [[0, 0], [5, 0], [10, 0], [15, 0]])
    assert index.search(query_of(index), PLAIN) == [1, 3, 0]


def test_views_of_one_panorama_count_twice_at_most():
    index = make_index([0.9, 0.8, 0.7, 0.6], [[0, 0]] * 3 + [[9, 0]], ["a", "a", "a", "b"])
    assert index.search(query_of(index), PLAIN) == [0, 1, 3]


def test_a_place_of_several_views_comes_before_a_single_better_one():
    positions = np.array([[0.0, 0.0], [500.0, 0.0], [520.0, 0.0], [540.0, 0.0]])
    found = places([0, 2, 1, 3], [0.9, 0.5, 0.6, 0.4], positions, PLAIN)
    assert [place.rows for place in found] == [(1, 2, 3), (0,)]


def test_a_chain_of_views_along_a_street_is_no_place_of_more_than_100_metres():
    positions = np.array([[25.0 * step, 0.0] for step in range(13)])
    found = places(range(13), np.linspace(0.9, 0.3, 13).tolist(), positions, GeoConfig(k=20))
    assert sorted(row for place in found for row in place.rows) == list(range(13))
    assert all(np.ptp(positions[list(place.rows), 0]) <= 100.0 for place in found)
    assert found[0].rows == (0, 1, 2, 3, 4)


def test_a_prior_finds_a_view_that_descriptors_alone_do_not():
    far = [[1000.0 + step, 0.0] for step in range(40)]
    index = make_index([0.2, 0.2, *np.linspace(0.9, 0.5, 40)], [[0, 0], [10, 0], *far])
    assert not {0, 1} & set(index.search(query_of(index), PLAIN))
    assert {0, 1} <= set(index.search(query_of(index), PLAIN, Tag(np.zeros(3))))


def test_a_wrong_prior_excludes_nothing():
    near = [[2000.0 + step, 0.0] for step in range(40)]
    index = make_index([*np.full(4, 0.8), *np.full(40, 0.5)], [[3.0 * step, 0.0] for step in range(4)] + near)
    assert {0, 1, 2, 3} <= set(index.search(query_of(index), PLAIN, Tag(np.array([2000.0, 0.0, 0.0]))))


def as_published(similarity, k1, k2):
    """Zhang et al. 2020, row by row."""
    count = len(similarity)
    ranks = [sorted(range(count), key=lambda j, i=i: -similarity[i, j]) for i in range(count)]
    adjacency = np.zeros((count, count))
    for i in range(count):
        adjacency[i, ranks[i][:k1]] = 1.0
    for _ in range(2 if k2 != 1 else 0):
        adjacency = adjacency + adjacency.T
        rows = [sum(similarity[i, j] ** 2 * adjacency[j] for j in ranks[i][:k2]) for i in range(count)]
        adjacency = np.array([row / np.linalg.norm(row) for row in rows])
    return adjacency[1:] @ adjacency[0]


@pytest.mark.parametrize("k2", [1, 2, 5])
def test_diffusion_is_that_of_its_paper(k2):
    items = unit(np.random.default_rng(3).normal(size=(40, 12)))
    similarity = (items @ items.T).astype(float)
    assert diffused_scores(similarity, 9, k2) == pytest.approx(as_published(similarity, 9, k2), abs=1e-9)


def test_one_propagated_neighbour_compares_neighbours_alone():
    items = unit(np.random.default_rng(4).normal(size=(12, 6)))
    similarity = (items @ items.T).astype(float)
    first = set(np.argsort(-similarity[0])[:5])
    shared = [len(first & set(np.argsort(-row)[:5])) for row in similarity[1:]]
    assert diffused_scores(similarity, 5, 1) == pytest.approx(shared)


def average_precision(order, right):
    hits = np.cumsum(right[order]) * right[order]
    return float((hits / np.arange(1, len(order) + 1)).sum() / right.sum())


def test_diffusion_finds_more_of_a_place_than_cosines():
    rng = np.random.default_rng(5)
    gains = []
    for _ in range(20):
        centres = rng.normal(size=(10, 32))
        labels = np.repeat(np.arange(10), 12)
        views = unit(centres[labels] + 1.3 * rng.normal(size=(120, 32)))
        query = unit(centres[0] + 1.3 * rng.normal(size=32))
        index = ViewIndex(views, np.zeros((120, 2)), np.full(120, 3.0), [None] * 120)
        before = average_precision(np.argsort(-views @ query), labels == 0)
        gains.append(average_precision(np.array(index.rank(query, GeoConfig())), labels == 0) - before)
    assert np.mean(gains) > 0.05
