"""Typical descriptors of every landmark, by k-means, with which the network may compare tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visloc_ros.localization.strategies.landmarks.tokens import Float32, LabelledImage, unit_rows

_ITERATIONS = 10
_MOST_SAMPLES = 100  # per prototype


def landmark_prototypes(images: Sequence[LabelledImage], num_classes: int, count: int, seed: int) -> Float32:
    """Unit prototypes (num_classes - 1, count, D) of the classes from 1; repeated where a landmark has too few tokens.

    A landmark that no image shows has zeros, which are like no token.
    """
    labels = np.concatenate([image.labels for image in images])
    descriptors = np.concatenate([image.descriptors for image in images])
    rng = np.random.default_rng(seed)
    return np.stack([_centres(descriptors[labels == one], count, rng) for one in range(1, num_classes)])


def _centres(samples: Float32, count: int, rng: np.random.Generator) -> Float32:
    """Lloyd's iterations on the unit sphere, from random samples (N, D)."""
    if not len(samples):
        return np.zeros((count, samples.shape[1]), np.float32)
    if len(samples) > _MOST_SAMPLES * count:
        samples = samples[rng.choice(len(samples), _MOST_SAMPLES * count, replace=False)]
    centres = samples[rng.permutation(max(len(samples), count))[:count] % len(samples)].copy()
    for _ in range(_ITERATIONS):
        one_hot = np.zeros((len(samples), count), np.float32)
        one_hot[np.arange(len(samples)), (samples @ centres.T).argmax(axis=1)] = 1.0
        sums = one_hot.T @ samples
        # A centre that is nearest to nothing stays where it is.
        centres = unit_rows(np.where(one_hot.sum(axis=0)[:, None] > 0.0, sums, centres))
    return centres
