"""Scores of recognised tokens, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32, Labels


@dataclass(frozen=True)
class RecognitionScores:
    """Shares in [0, 1] of tokens.

    ``accuracy`` of landmark tokens, ``macro_accuracy`` the mean of that over landmarks, ``background_precision`` of
    tokens called background, ``background_recall`` of true ones; 1 where there is nothing to get wrong.
    """

    accuracy: float
    macro_accuracy: float
    background_precision: float
    background_recall: float


def score_recognition(probabilities: Sequence[Float32], labels: Sequence[Labels]) -> RecognitionScores:
    """Compare the most probable classes of images (N, C) with true labels (N,)."""
    truth = np.concatenate([*labels, np.empty(0, np.int64)])
    found = np.concatenate([*(one.argmax(axis=1) for one in probabilities), np.empty(0, np.int64)])
    right = found == truth
    landmarks = np.unique(truth[truth != BACKGROUND])
    each = [float(right[truth == one].mean()) for one in landmarks]
    return RecognitionScores(
        _share(right[truth != BACKGROUND]),
        float(np.mean(each)) if each else 1.0,
        _share(right[found == BACKGROUND]),
        _share(right[truth == BACKGROUND]),
    )


def _share(right: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(right.mean()) if len(right) else 1.0
