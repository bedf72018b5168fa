"""The result of recognising instances in one image, and the order in which to look for them in the map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.types import Image
from visloc_search.instances.config import NO_INSTANCE

RANKS = 10
"""Classes of a pixel that are kept, the most probable first."""
LEAST_PROBABILITY = 1e-4
"""Of a class at a pixel: others are not looked for."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recognition:
    """What a network recognises in an image, on a grid over the whole of it.

    ``ids`` (K, h, w) are the most probable instances of each cell, the first one the most probable, NO_INSTANCE for
    none; ``probabilities`` (K, h, w) go with them; ``descriptor`` (G,) is a unit vector that describes the whole.
    """

    ids: NDArray[np.uint16]
    probabilities: Float32
    descriptor: Float32

    @staticmethod
    def of(probabilities: Float32, descriptor: Float32) -> Recognition:
        """The recognition by probabilities (C, h, w) of all classes, class 0 being NO_INSTANCE."""
        ids = np.argsort(-probabilities, axis=0, kind="stable")[:RANKS]
        return Recognition(ids.astype(np.uint16), np.take_along_axis(probabilities, ids, axis=0), descriptor)

    @property
    def mask(self) -> NDArray[np.uint16]:
        """The most probable instance (h, w) of each cell."""
        return np.asarray(self.ids[0])

    @property
    def confidence(self) -> Float32:
        """The probability (h, w) of the most probable instance."""
        return np.asarray(self.probabilities[0])

    def areas(self, num_classes: int) -> Float32:
        """Expected share (C,) of the image that each class covers."""
        sums = np.bincount(self.ids.ravel(), self.probabilities.ravel(), num_classes)
        return np.asarray(sums / self.mask.size, np.float32)

    def at(self, pixels: NDArray[np.floating], image_size: tuple[int, int]) -> NDArray[np.uint16]:
        """Instances (N,) at pixels (N, 2) of the image of this width and height."""
        return at_pixels(self.mask, pixels, image_size)


class InstanceRecogniser(Protocol):
    """Recognises the instances of one map in images."""

    def recognise(self, image: Image) -> Recognition:
        """Recognise the instances in an upright image, (H, W) grey or (H, W, 3) RGB."""
        ...


def at_pixels(
    mask: NDArray[np.uint16], pixels: NDArray[np.floating], image_size: tuple[int, int]
) -> NDArray[np.uint16]:
    """Values (N,) of a mask (h, w) over a whole image at pixels (N, 2) of it; ``image_size`` is width and height."""
    shape = np.array(mask.shape[::-1])
    cells = np.clip(np.floor(pixels * shape / image_size).astype(np.intp), 0, shape - 1)
    return np.asarray(mask[cells[:, 1], cells[:, 0]])


def rank_instances(recognition: Recognition) -> Iterator[int]:
    """The instances that an image shows, in the order in which to look for them.

    An instance scores by the best rank that it has at any cell, then by its mean probability where it has that rank.
    """
    scores = {one: score for one, score in instance_scores(recognition).items() if one != NO_INSTANCE}
    yield from sorted(scores, key=lambda one: (-scores[one], one))


def instance_scores(recognition: Recognition) -> dict[int, float]:
    """Score of every class that some cell has: K - rank, from rank 0 on, plus the mean probability at that rank."""
    scores: dict[int, float] = {}
    for rank, (ids, probabilities) in enumerate(zip(recognition.ids, recognition.probabilities, strict=True)):
        shown = probabilities >= LEAST_PROBABILITY
        counts = np.bincount(ids[shown])
        sums = np.bincount(ids[shown], probabilities[shown])
        for one in np.flatnonzero(counts):
            scores.setdefault(int(one), len(recognition.ids) - rank + float(sums[one] / counts[one]))
    return scores
