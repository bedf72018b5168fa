"""Scores of a recogniser of instances: how often it recognises the instance of a map point that an image shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import NO_POINT, MapImage
from visloc_search.instances.config import NO_INSTANCE
from visloc_search.instances.recognition import at_pixels


@dataclass(frozen=True)
class TrainingPoint:
    """The state of a training at a step: seconds so far, mean loss since the last point, share of right points.

    ``accuracy`` is the share of the points seen in held-out images whose instance the mask has at their keypoint.
    """

    step: int
    seconds: float
    loss: float
    accuracy: float

    @property
    def merit(self) -> float:
        """The criterion for the best network."""
        return self.accuracy


def point_accuracy(
    images: Sequence[MapImage], masks: Sequence[NDArray[np.uint16]], point_labels: NDArray[np.int32]
) -> float:
    """Share of the points with an instance, as images see them, at which the image's mask has that; 1 without any."""
    right = [_right_points(image, mask, point_labels) for image, mask in zip(images, masks, strict=True)]
    together = np.concatenate([*right, np.empty(0, bool)])
    return float(together.mean()) if len(together) else 1.0


def _right_points(image: MapImage, mask: NDArray[np.uint16], point_labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    rows = seen_rows(image, point_labels)
    found = at_pixels(mask, image.features.keypoints[rows], image.features.image_size)
    return np.asarray(found == point_labels[image.point_rows[rows]])


def seen_rows(image: MapImage, point_labels: NDArray[np.int32]) -> NDArray[np.intp]:
    """Rows of the keypoints of an image that see a point with an instance."""
    labels = np.append(point_labels, NO_INSTANCE)[image.point_rows]  # NO_POINT is the last row
    assert NO_POINT == -1
    return np.flatnonzero(labels != NO_INSTANCE)
