"""Protocols of extractors, matchers and global descriptors over plain arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.types import Image

__all__ = ["GlobalDescriptor", "LocalExtractor", "Matcher", "Matches", "ModelInfo"]


@dataclass(frozen=True, eq=False)
class Matches:
    """Mutual matches: ``pairs`` (K, 2) int32 of keypoint rows in a and b, ``scores`` (K,) float32 in [0, 1]."""

    pairs: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)


class LocalExtractor(Protocol):
    """Finds and describes keypoints; loaded once, then called for every image."""

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        ...

    @property
    def descriptor_dim(self) -> int:
        """Length of its descriptors."""
        ...

    @property
    def batch_size(self) -> int:
        """Best number of images for ``extract_many``; 1 where a batch is not faster."""
        ...

    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB; keypoints in COLMAP pixels of that image."""
        ...

    def extract_many(self, images: Sequence[Image]) -> list[LocalFeatures]:
        """Features of every image, in their order; the images may differ in size."""
        ...


class Matcher(Protocol):
    """Matches the features of two images made by the same extractor."""

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        ...

    @property
    def batch_size(self) -> int:
        """Best number of references for ``match_many``; 1 where a batch is not faster."""
        ...

    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches between two images, none where either has no features."""
        ...

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference, in their order."""
        ...


class Similarity(Protocol):
    """How similar keypoints (N,) are to points (M,)."""

    def most_similar_within(
        self, keypoints: NDArray[np.float32], projected: NDArray[np.float32], window: float
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The point within the square window of each keypoint that is most similar, and how similar it is, or -2.

        ``keypoints`` (N, 2) and ``projected`` points (M, 2) are in pixels of one image.
        """
        ...


CompareDescriptors = Callable[[NDArray[np.float32], NDArray[np.float32]], Similarity]
"""Compares descriptors (N, D) of keypoints with those (M, D) of points."""


class GlobalDescriptor(Protocol):
    """Describes a whole image by one unit vector, so that a dot product measures how alike two places look."""

    @property
    def info(self) -> ModelInfo:
        """Which model this is."""
        ...

    def describe(self, image: Image, features: LocalFeatures) -> NDArray[np.float32]:
        """Unit vector (G,) float32 of a uint8 image, (H, W) grey or (H, W, 3) RGB, and its local features.

        A descriptor uses one of the two; zeros where there is nothing to describe.
        """
        ...


class OneByOne(ABC):
    """The methods of a ``LocalExtractor`` for several images, by that for one."""

    batch_size = 1

    @abstractmethod
    def extract(self, image: Image) -> LocalFeatures:
        """Features of one image."""

    def extract_many(self, images: Sequence[Image]) -> list[LocalFeatures]:
        """Features of every image, in their order."""
        return [self.extract(image) for image in images]
