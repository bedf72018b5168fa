"""Points found by fused descriptors: exactly, and by faiss, as comparing all with all finds them."""

import numpy as np
import pytest
from synthetic_map import unit

from visloc_ros.core.errors import MapError, ModelError
from visloc_ros.localization.inverted_lists import learned_arrays
from visloc_search.fused import approximate_index
from visloc_search.fused.approximate_index import (
    MOST_EXACT_POINTS,
    chosen_index,
    learn_index,
    make_index,
)
from visloc_search.fused.fusion import Codebook, FusedQuery
from visloc_search.fused.point_index import BLOCK

LENGTH, LAM = 32, 2.0 / 3.0


def world(points, storage="float16", seed=0):
    """A codebook of two places, and keypoints that show every third point of the second."""
    rng = np.random.default_rng(seed)
    places = unit(rng.normal(size=(2, LENGTH)))
    local = unit(rng.normal(size=(points, LENGTH)))
    place = (np.arange(points) >= points // 2).astype(int)
    codebook = Codebook.store(LAM * local + (1.0 - LAM) * places[place], storage)
    rows = np.arange(points // 2, points, 3)[:100]
    seen = unit(local[rows] + 0.05 * rng.normal(size=(len(rows), LENGTH)))
    return codebook, FusedQuery(seen, places[1], LAM), rows


def exact_scores(codebook, query):
    """All scores (N, P) at once."""
    points = codebook.rows(slice(None))
    return query.fused @ points.T - 0.5 * np.square(points).sum(axis=1)


@pytest.mark.parametrize("storage", ["float16", "int8"])
@pytest.mark.parametrize("points", [2, 900, BLOCK + 1, 2 * BLOCK + 77])
def test_block_by_block_is_as_all_at_once(points, storage):
    codebook, query, _ = world(points, storage)
    scores = exact_scores(codebook, query)
    found = make_index("exact", codebook).search(query)
    np.testing.assert_array_equal(found.rows, scores.argmax(axis=1))
    np.testing.assert_allclose(found.scores, scores.max(axis=1), atol=1e-5)


@pytest.mark.parametrize("kind", ["exact", "ivf_pq"])
def test_every_index_finds_what_comparing_all_finds(kind):
    codebook, query, rows = world(1000)
    found = make_index(kind, codebook).search(query)
    np.testing.assert_array_equal(found.rows, exact_scores(codebook, query).argmax(axis=1))
    np.testing.assert_array_equal(found.rows, rows)


@pytest.mark.parametrize("kind", ["exact", "ivf_pq"])
@pytest.mark.parametrize("most_exact", [MOST_EXACT_POINTS, 10])
def test_only_points_that_are_allowed(kind, most_exact, monkeypatch):
    monkeypatch.setattr(approximate_index, "MOST_EXACT_POINTS", most_exact)
    codebook, query, rows = world(1000)
    allowed = np.ones(1000, bool)
    allowed[rows[::2]] = False
    found = make_index(kind, codebook).search(query, allowed)
    assert allowed[found.rows[np.isfinite(found.scores)]].all()
    np.testing.assert_array_equal(found.rows[1::2], rows[1::2])


def test_an_index_is_made_again_of_what_it_has_learned():
    codebook, query, _ = world(1000)
    learned = learn_index(codebook)
    kinds = {name: (array.dtype.str, array.shape) for name, array in learned.items()}
    assert kinds == learned_arrays(1000, LENGTH)
    one, other = (make_index("ivf_pq", codebook, learned).search(query) for _ in range(2))
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(learn_index(codebook)["codes"], learned["codes"])


@pytest.mark.parametrize("lists", [np.full(1000, 126, np.int32), np.full(1000, -1, np.int32), np.zeros(999, np.int32)])
def test_lists_of_other_points_are_refused(lists):
    codebook, _, _ = world(1000)
    with pytest.raises(MapError, match="other points"):
        make_index("ivf_pq", codebook, {**learn_index(codebook), "lists": lists})


def test_the_size_of_a_map_chooses():
    assert chosen_index("auto", MOST_EXACT_POINTS) == "exact"
    assert chosen_index("auto", MOST_EXACT_POINTS + 1) == "ivf_pq"
    assert chosen_index("ivf_pq", 1000) == "exact"  # too few to learn from
    assert chosen_index("exact", 10 * MOST_EXACT_POINTS) == "exact"


def test_without_faiss_the_exact_index_is_the_remedy(monkeypatch):
    codebook, _, _ = world(1000)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for make in (learn_index, lambda codebook: make_index("ivf_pq", codebook, {"lists": np.zeros(1000)})):
        with pytest.raises(ModelError, match="pip install faiss-cpu, or prepare with index: exact"):
            make(codebook)
    make_index("exact", codebook)
