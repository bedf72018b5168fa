"""For extractors that are no faster with several images at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image


class OneByOne(ABC):
    """The methods of a ``LocalExtractor`` for several images, by that for one."""

    batch_size = 1

    @abstractmethod
    def extract(self, image: Image) -> LocalFeatures:
        """Features of one image."""

    def extract_many(self, images: Sequence[Image]) -> list[LocalFeatures]:
        """Features of every image, in their order."""
        return [self.extract(image) for image in images]
