"""For extractors that take several images no faster than one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image


class OneByOne(ABC):
    """What a ``LocalExtractor`` does with several images, by what it does with one."""

    batch_size = 1

    @abstractmethod
    def extract(self, image: Image) -> LocalFeatures:
        """Features of one image."""

    def extract_many(self, images: Sequence[Image]) -> list[LocalFeatures]:
        """Features of every image, in their order."""
        return [self.extract(image) for image in images]
