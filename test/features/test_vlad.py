import numpy as np
import pytest
from made_features import features_of

from visloc_ros.core.errors import MapError
from visloc_ros.features import Vlad, VladConfig


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def places():
    """Ten places of 200 descriptors each, which are seen a second time with noise and half of them hidden."""
    rng = np.random.default_rng(3)
    first = [unit(rng.normal(size=(200, 32))) for _ in range(10)]
    again = [unit(rows[::2] + 0.02 * rng.normal(size=(100, 32))) for rows in first]
    return first, again


def test_a_place_seen_again_is_the_most_similar_one(places):
    first, again = places
    vlad = Vlad.train(first, VladConfig(clusters=16))
    database = np.stack([vlad.describe_features(features_of(rows)) for rows in first])
    queries = np.stack([vlad.describe_features(features_of(rows)) for rows in again])
    assert (queries @ database.T).argmax(axis=1).tolist() == list(range(10))


def test_descriptors_are_unit_vectors_of_clusters_times_dimension(places):
    first, _ = places
    vlad = Vlad.train(first, VladConfig(clusters=16))
    vector = vlad.describe_features(features_of(first[0]))
    assert vector.shape == (16 * 32,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_residuals_of_one_word_match_the_definition():
    vlad = Vlad(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))
    vector = vlad.describe_features(features_of(np.array([[0.8, 0.6], [0.6, 0.8], [0.9, 0.1]], np.float32)))
    residuals = np.array([[0.8 - 1.0 + 0.9 - 1.0, 0.6 + 0.1], [0.6, 0.8 - 1.0]])
    per_word = residuals / np.linalg.norm(residuals, axis=1, keepdims=True)
    expected = (np.sign(per_word) * np.sqrt(np.abs(per_word))).ravel()
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


def test_training_is_deterministic_and_named_by_its_codebook(places):
    first, _ = places
    a, b = (Vlad.train(first, VladConfig(clusters=8)) for _ in range(2))
    other = Vlad.train(first, VladConfig(clusters=8, seed=1))
    np.testing.assert_array_equal(a.centroids, b.centroids)
    assert a.info == b.info
    assert a.info.sha256 != other.info.sha256


def test_more_iterations_do_not_fit_worse(places):
    samples = np.concatenate(places[0])

    def misfit(iterations):
        centroids = Vlad.train([samples], VladConfig(clusters=8, iterations=iterations)).centroids
        return np.square(samples[:, None] - centroids[None]).sum(axis=2).min(axis=1).sum()

    assert misfit(20) < misfit(1)


def test_every_word_is_used_even_when_samples_repeat():
    samples = unit(np.random.default_rng(0).normal(size=(10, 8)))
    centroids = Vlad.train([np.repeat(samples, 50, axis=0)], VladConfig(clusters=8)).centroids
    distances = np.linalg.norm(samples[:, None] - centroids[None], axis=2)
    assert sorted(set(distances.argmin(axis=1))) == list(range(8))


def test_half_precision_descriptors_of_a_stored_map_are_taken(places):
    first, _ = places
    vlad = Vlad.train([rows.astype(np.float16) for rows in first], VladConfig(clusters=8))
    full, half = (vlad.describe_features(features_of(first[0].astype(kind))) for kind in (np.float32, np.float16))
    assert full @ half > 0.999


def test_no_features_give_zeros():
    vlad = Vlad(np.eye(4, dtype=np.float32))
    assert not vlad.describe_features(features_of(np.empty((0, 4), np.float32))).any()


def test_too_few_descriptors_are_refused():
    with pytest.raises(MapError, match="8 visual words"):
        Vlad.train([np.eye(4, dtype=np.float32)], VladConfig(clusters=8))
