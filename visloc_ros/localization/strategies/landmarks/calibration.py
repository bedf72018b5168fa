"""The tokens that are surely background, and need no matching (the pre-filter of PRAM, Xue et al. 2024).

The loss weighs background down, so that its probability is no frequency: the threshold above which a token is dropped
is determined from images with truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32, Labels

KEPT_INLIERS = 0.97
LEAST_KEPT = 0.4
KEEP_ALL = 1.0


def background_threshold(
    probabilities: Sequence[Float32], labels: Sequence[Labels], kept_inliers: float = KEPT_INLIERS
) -> float:
    """The probability of background up to which this share of landmark tokens is kept.

    Of images with probabilities (N, C) and true labels (N,); KEEP_ALL where none of them shows a landmark.
    """
    background = [
        one[truth != BACKGROUND, BACKGROUND] for one, truth in zip(probabilities, labels, strict=True) if len(truth)
    ]
    inliers = np.concatenate(background) if background else np.empty(0)
    return float(np.quantile(inliers, kept_inliers, method="higher")) if len(inliers) else KEEP_ALL


def keep_likely_landmarks(probabilities: Float32, threshold: float, least_kept: float = LEAST_KEPT) -> NDArray[np.intp]:
    """Rows of the tokens (N, C) whose probability of background is at most the threshold.

    All rows where that would leave less than this share of them: the recognition of such an image is not trusted.
    """
    kept = np.flatnonzero(probabilities[:, BACKGROUND] <= threshold)
    return kept if len(kept) >= least_kept * len(probabilities) else np.arange(len(probabilities))
