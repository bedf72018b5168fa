"""What the search by instances knows of a map: the instances of its points, and what its images show of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_search.instances.recognition import Float32


@dataclass(frozen=True, eq=False)
class InstanceMap:
    """Instances of a map.

    ``point_labels`` (P,) are those of its points, from 1 on, NO_INSTANCE for none. Of its images (M), as the recogniser
    sees them, ``areas`` (M, C) are the shares that each class covers, ``descriptors`` (M, G) describe the whole.
    ``min_similarity`` is the least dot product of the descriptors of a query and an image that shows the same.
    """

    point_labels: NDArray[np.int32]
    areas: Float32
    descriptors: Float32
    min_similarity: float

    @property
    def num_classes(self) -> int:
        """Number of instances, and one for none."""
        return int(self.areas.shape[1])
