"""Which landmarks to try first: by the rank that tokens give them, and then by how many tokens do (PRAM, Xue 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32


@dataclass(frozen=True, eq=False)
class RankedLandmark:
    """A landmark that the query may show, and the rows (K,) of the tokens that say so."""

    label: int
    token_rows: NDArray[np.intp]


def rank_landmarks(probabilities: Float32) -> Iterator[RankedLandmark]:
    """Landmarks in the order in which to try them, by probabilities (N, C) of tokens; class 0 is background.

    Those that are the most probable class of a token come first, then those that are second, and so on; of those of
    the same rank that of most tokens, and of as many that of the lower number.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    listed = {BACKGROUND}
    for classes in order.T:
        labels, counts = np.unique(classes, return_counts=True)
        for label in labels[np.argsort(-counts, kind="stable")]:
            if int(label) not in listed:
                listed.add(int(label))
                yield RankedLandmark(int(label), np.flatnonzero(classes == label))


def rank_by_confidence(probabilities: Float32) -> Iterator[RankedLandmark]:
    """Landmarks by the sum of their probabilities (N, C), each with the tokens of which it is the likeliest class."""
    best, sums = probabilities.argmax(axis=1), probabilities.sum(axis=0)
    for label in np.argsort(-sums, kind="stable"):
        if label != BACKGROUND:
            yield RankedLandmark(int(label), np.flatnonzero(best == label))
