"""What texts say of landmarks: much where they were read, nothing elsewhere, and never more than texts can."""

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, MapError
from visloc_search.landmarks.text_likelihood import (
    TEXTS_NAME,
    TextLikelihood,
    TextSample,
    learn_texts,
    log_mean,
)

LENGTH, LANDMARKS = 384, 6  # as small models for sentences have
SURE = np.log(40.0)


def unit(vector):
    return vector / np.linalg.norm(vector)


def misread(text, rng, length=0.5):
    return unit(text + length * unit(rng.normal(size=LENGTH)))


@pytest.fixture(scope="module")
def signs():
    rng = np.random.default_rng(1)
    return [unit(rng.normal(size=LENGTH)) for _ in range(4)]


@pytest.fixture(scope="module")
def learned(signs):
    """Signs 0 and 1 in a room of landmarks 0 to 2, 2 and 3 in one of 3 to 5; every third image shows none."""
    rng, samples = np.random.default_rng(2), []
    for index in range(60):
        room = index % 2
        counts = np.zeros(LANDMARKS, np.int64)
        counts[3 * room : 3 * room + 3] = rng.integers(5, 60, 3)
        text = misread(signs[2 * room + rng.integers(2)], rng, 0.2)
        samples.append(TextSample(counts, None if index % 3 == 0 else text))
    return learn_texts(samples)


def odds_of_first_room(learned, text):
    logs = learned.of(text)
    return log_mean(logs[:3]) - log_mean(logs[3:])


def test_a_text_identifies_its_room_though_it_is_misread(learned, signs):
    rng = np.random.default_rng(3)
    odds = [odds_of_first_room(learned, misread(sign, rng)) for sign in signs for _ in range(20)]
    signed = np.array(odds) * np.repeat([1, 1, -1, -1], 20)
    assert (signed > 0.0).all()
    assert (signed > SURE).mean() > 0.95


def test_a_text_never_makes_surer_than_texts_can(learned, signs):
    assert all(abs(odds_of_first_room(learned, sign)) < np.log(400.0) for sign in signs)


def test_a_text_unlike_all_others_says_nothing(learned):
    rng = np.random.default_rng(4)
    odds = [odds_of_first_room(learned, unit(rng.normal(size=LENGTH))) for _ in range(200)]
    assert np.abs(odds).max() < SURE


def test_a_text_speaks_for_what_is_seen_together_with_it(signs):
    """Landmarks 0 and 1, 1 and 2 are seen together, and only images of 0 show the text; 3 to 5 are elsewhere."""
    shown = ([9, 9, 0, 0, 0, 0], [0, 9, 9, 0, 0, 0], [0, 0, 0, 9, 9, 0], [0, 0, 0, 0, 9, 9])
    texts = (signs[0], None, signs[2], None)
    samples = [TextSample(np.array(row), text) for row, text in zip(shown, texts, strict=True)] * 4
    logs = learn_texts(samples).of(signs[0])
    assert (logs[:3, None] - logs[None, 3:]).min() > 2.0


def test_a_text_that_both_rooms_have_says_nothing(signs):
    counts = np.repeat(np.eye(2, dtype=np.int64), 3, axis=1) * 20
    learned = learn_texts([TextSample(row, signs[0]) for row in counts] * 4)
    assert abs(odds_of_first_room(learned, signs[0])) < 1.0


def test_it_is_kept_as_it_is(learned, signs, tmp_path):
    learned.save(tmp_path)
    content = (tmp_path / TEXTS_NAME).read_bytes()
    np.testing.assert_allclose(TextLikelihood.load(content, LANDMARKS).of(signs[0]), learned.of(signs[0]), atol=1e-6)
    with pytest.raises(MapError, match="visloc prepare"):
        TextLikelihood.load(content, LANDMARKS + 1)
    with pytest.raises(MapError, match="visloc prepare"):
        TextLikelihood.load(content[:100], LANDMARKS)


def test_the_embedding_of_another_model_is_refused(learned):
    with pytest.raises(ConfigError, match="the same model"):
        learned.of(np.ones(3))


def test_the_mean_of_none_is_nothing():
    assert log_mean(np.empty(0)) == 0.0
    assert log_mean(np.log([1.0, 3.0]) + 1000.0) == pytest.approx(1000.0 + np.log(2.0))
