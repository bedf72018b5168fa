"""VLAD over local descriptors: a global descriptor without a network.

Residuals to a k-means codebook (Jegou et al. 2010), normalised per word (Arandjelovic and Zisserman 2013),
then signed square root and unit length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.config import VladConfig
from visloc_ros.features.types import ModelInfo

Float32 = NDArray[np.float32]


class Vlad:
    """Global descriptor of length clusters * D from a codebook of centroids (clusters, D)."""

    def __init__(self, centroids: NDArray[np.floating]) -> None:
        self.centroids: Float32 = np.ascontiguousarray(centroids, dtype=np.float32)
        digest = hashlib.sha256(self.centroids.tobytes()).hexdigest()
        self.info = ModelInfo("vlad", "Apache-2.0", digest)

    @staticmethod
    def train(descriptors: Iterable[NDArray[np.floating]], config: VladConfig | None = None) -> Vlad:
        """Learn the codebook from descriptors (N, D) of many images, deterministically by seed.

        Raises MapError when there are fewer descriptors than words.
        """
        config = config or VladConfig()
        samples = np.concatenate(list(descriptors))
        if len(samples) < config.clusters:
            raise MapError(f"{len(samples)} descriptors cannot train {config.clusters} visual words: add images")
        rng = np.random.default_rng(config.seed)
        if len(samples) > config.max_samples:
            samples = samples[rng.choice(len(samples), config.max_samples, replace=False)]
        return Vlad(_k_means(samples.astype(np.float32), config.clusters, config.iterations, rng))

    def describe(self, image: Image, features: LocalFeatures) -> Float32:
        """Unit vector (clusters * D,) of an image, made of its local features alone."""
        return self.describe_features(features)

    def describe_features(self, features: LocalFeatures) -> Float32:
        """Unit vector (clusters * D,) of an image's local features, zeros where there are none."""
        descriptors = np.asarray(features.descriptors, dtype=np.float32)
        if len(descriptors) == 0:
            return np.zeros(self.centroids.size, dtype=np.float32)
        residuals = _residual_sums(descriptors, self.centroids)
        per_word = residuals / np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-12)
        vector = np.sign(per_word) * np.sqrt(np.abs(per_word))
        return np.asarray(vector.ravel() / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)


def _residual_sums(descriptors: Float32, centroids: Float32) -> Float32:
    """Sum of (descriptor - its word) for every word (clusters, D)."""
    words = _nearest_words(descriptors, centroids)
    one_hot = np.zeros((len(centroids), len(descriptors)), dtype=np.float32)
    one_hot[words, np.arange(len(descriptors))] = 1.0
    counts = one_hot.sum(axis=1, keepdims=True)
    return np.asarray(one_hot @ descriptors - counts * centroids)


def _nearest_words(descriptors: Float32, centroids: Float32) -> NDArray[np.intp]:
    half_norms = 0.5 * np.square(centroids).sum(axis=1)
    return np.asarray((descriptors @ centroids.T - half_norms).argmax(axis=1))


def _k_means(samples: Float32, clusters: int, iterations: int, rng: np.random.Generator) -> Float32:
    """Lloyd's iterations from distinct random samples; a word that loses all samples restarts at the worst fit."""
    centroids = samples[rng.choice(len(samples), clusters, replace=False)].copy()
    words = np.full(len(samples), -1)
    for _ in range(iterations):
        new_words = _nearest_words(samples, centroids)
        if np.array_equal(new_words, words):
            break
        words = new_words
        centroids = _means(samples, words, centroids)
    return centroids


def _means(samples: Float32, words: NDArray[np.intp], centroids: Float32) -> Float32:
    order = np.argsort(words, kind="stable")
    counts = np.bincount(words, minlength=len(centroids))
    filled = np.flatnonzero(counts)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))[filled]
    means = centroids.copy()
    means[filled] = np.add.reduceat(samples[order], starts, axis=0) / counts[filled, None]
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        distances = np.square(samples - centroids[words]).sum(axis=1)
        means[empty] = samples[np.argsort(distances)[-len(empty) :]]
    return means
