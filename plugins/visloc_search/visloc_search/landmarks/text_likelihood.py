"""Likelihoods of landmarks given a text that was read, learned from the texts of a map's images.

A text distinguishes two places that look the same, but a network with both inputs hardly uses it, because it memorises
its training images. So texts are learned separately. The logarithm of a landmark's likelihood is linear in the text's
embedding (multinomial logistic regression), without other terms: a text that is unlike all others is neutral.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import Array
from visloc_search.landmarks.tokens import Float32, unit_rows
from visloc_search.reduced_map.array_files import read_arrays, write_arrays

TEXTS_NAME = "texts.npz"

_ELSEWHERE = 0.01  # share of texts that are misread, or belong to another place: it bounds the certainty by a text
_MAX_NOISE = 0.5  # norm of the difference of embeddings of one text: misread letters leave a cosine of about 0.9
_STEPS = 2  # from the landmarks seen with the text to those seen together with them, twice
_COPIES, _MOST_SAMPLES = 8, 4096
_RIDGE = 1e-5  # of a mean loss: enough for one solution, without pulling likelihoods together
_ITERATIONS = 200
_AGAIN = ": run 'visloc prepare MAP --for landmarks --texts FILE' again"


class TextSample(NamedTuple):
    """The content of an image: its tokens by landmark (k,), and the embedding (E,) of its text, if it has any."""

    counts: NDArray[np.integer]
    text: Array | None


class TextLikelihood:
    """Logarithms of likelihoods of landmarks as rows of weights (k, E)."""

    def __init__(self, weights: Float32) -> None:
        self.weights = weights

    def of(self, text: Array) -> Array:
        """Logarithms (k,) of how well landmarks go with a unit embedding (E,); only their differences have a meaning.

        Raises ConfigError for an embedding of another length.
        """
        length = self.weights.shape[1]
        if text.shape != (length,):
            raise ConfigError(
                f"the text of a hint has {text.size} numbers, those that the map was prepared with have {length}: use "
                "the same model for both"
            )
        return np.asarray(self.weights @ text, np.float64)

    def of_rows(self, rows: slice) -> TextLikelihood:
        """The likelihood of some of the landmarks."""
        return TextLikelihood(self.weights[rows])

    def save(self, folder: Path) -> None:
        """Write it into a folder. Raises OSError."""
        write_arrays(folder / TEXTS_NAME, {"weights": self.weights.astype(np.float32)})

    @staticmethod
    def load(content: bytes, num_landmarks: int) -> TextLikelihood:
        """Read it for a number of landmarks. Raises MapError where it is broken."""
        expected: dict[str, tuple[str, tuple[int | None, ...]]] = {"weights": ("<f4", (num_landmarks, None))}
        return TextLikelihood(read_arrays(TEXTS_NAME, content, expected, _AGAIN)["weights"])


def log_mean(logarithms: Array) -> float:
    """The logarithm of the mean of numbers whose logarithms (N,) are given; 0 without any."""
    largest = float(logarithms.max(initial=-np.inf))
    return largest + float(np.log(np.exp(logarithms - largest).mean())) if len(logarithms) else 0.0


def learn_texts(samples: Sequence[TextSample]) -> TextLikelihood:
    """Weights by images, of which at least one has a text and one shows a landmark.

    The fixed bias is how often a landmark is seen at all. Texts are learned with noise; a share of each is taken to
    belong anywhere.
    """
    counts = _spread(np.array([sample.counts for sample in samples], np.float64))
    often = _shares(counts.sum(axis=0)[None])[0]
    with_text = [row for row, sample in enumerate(samples) if sample.text is not None and counts[row].any()]
    texts = np.array([samples[row].text for row in with_text])
    seen = (1.0 - _ELSEWHERE) * _shares(counts[with_text]) + _ELSEWHERE * often
    copies = max(1, min(_COPIES, _MOST_SAMPLES // max(len(texts), 1)))
    noisy = _with_noise(np.tile(texts, (copies, 1)), np.random.default_rng(0))
    return TextLikelihood(_fit(noisy, np.tile(seen, (copies, 1)), np.log(often)))


def _fit(texts: Array, shares: Array, bias: Array) -> Float32:
    """Weights (k, E) of the least cross entropy with shares (n, k) of landmarks; that is convex."""
    from scipy.optimize import minimize  # takes 0.3 s, so it is imported only when needed
    from scipy.special import log_softmax

    size = len(bias), texts.shape[1]

    def loss(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(size)
        logs = log_softmax(texts @ weights.T + bias, axis=1)
        gradient = (np.exp(logs) - shares).T @ texts / len(texts) + _RIDGE * weights
        value = -(shares * logs).sum() / len(texts) + 0.5 * _RIDGE * np.square(weights).sum()
        return float(value), gradient.ravel()

    found = minimize(loss, np.zeros(size).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return np.asarray(found.x.reshape(size), np.float32)


def _spread(counts: Array) -> Array:
    """Tokens (n, k) of images, moved on to landmarks that are seen together with those that they show.

    Few images show a text, and a camera that sees it soon looks another way.
    """
    together = counts.T @ counts
    together /= np.maximum(together.sum(axis=1, keepdims=True), 1.0)
    return np.asarray(counts @ np.linalg.matrix_power(together, _STEPS))


def _with_noise(texts: Array, rng: np.random.Generator) -> Array:
    noise = unit_rows(rng.standard_normal(texts.shape)) * rng.uniform(0.0, _MAX_NOISE, (len(texts), 1))
    return np.asarray(unit_rows(texts + noise), np.float64)


def _shares(counts: Array) -> Array:
    """Rows (n, k) that sum to one; one count is spread over all, so that no share is zero."""
    smoothed = counts + 1.0 / counts.shape[1]
    return np.asarray(smoothed / smoothed.sum(axis=1, keepdims=True))
