"""Images as the recogniser sees them: a token per keypoint, which is its descriptor, position and landmark class.

Classes are numbered from 1; class 0 is background: whatever belongs to no landmark (PRAM, Xue et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map

BACKGROUND = 0
_POSITION_SCALE = 0.7  # of the longer side, as in PRAM: positions reach from -0.71 to 0.71

Float32 = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """Tokens of an image with their truth.

    ``descriptors`` (N, D) float32 of unit length, ``positions`` (N, 2) as ``normalise_positions`` gives them,
    ``labels`` (N,) landmark classes or BACKGROUND, ``point_rows`` (N,) of the map points seen or NO_POINT. ``name`` is
    that of the image, where it has one.
    """

    descriptors: Float32
    positions: Float32
    labels: Labels
    point_rows: Labels
    name: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> LabelledImage:
        """The tokens of these rows (K,), or of a mask (N,)."""
        return LabelledImage(
            self.descriptors[rows], self.positions[rows], self.labels[rows], self.point_rows[rows], self.name
        )


def normalise_positions(keypoints: NDArray[np.floating], size: tuple[int, int]) -> Float32:
    """Positions (N, 2) of keypoints (N, 2) [px] in an image of (width, height): from its centre, by its longer side."""
    width_height = np.asarray(size, np.float64)
    return np.asarray((keypoints - width_height / 2.0) / (_POSITION_SCALE * width_height.max()), np.float32)


def unit_rows(rows: NDArray[np.floating]) -> Float32:
    """Rows (..., D) of unit length; rows of zeros stay."""
    rows = np.asarray(rows, np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12), np.float32)


def unit_descriptors(features: LocalFeatures) -> Float32:
    """Descriptors (N, D) float32 of unit length: a map keeps them rounded."""
    return unit_rows(features.descriptors)


def label_features(
    features: LocalFeatures, labels: Labels, point_rows: NDArray[np.integer], name: str = ""
) -> LabelledImage:
    """An image of features, the label and the map point (NO_POINT for none) of each keypoint (N,)."""
    positions = normalise_positions(features.keypoints, features.image_size)
    return LabelledImage(
        unit_descriptors(features), positions, np.asarray(labels, np.int64), np.asarray(point_rows, np.int64), name
    )


def background_image(features: LocalFeatures) -> LabelledImage:
    """An image of another place: every keypoint is background."""
    count = len(features)
    return label_features(features, np.full(count, BACKGROUND), np.full(count, NO_POINT))


def label_images(map_: Map, labels: NDArray[np.integer]) -> tuple[LabelledImage, ...]:
    """The map's images with the class of each keypoint's map point.

    ``labels`` (P,) are the landmark classes of the map points, BACKGROUND for points of no landmark; so are keypoints
    without a point. Raises MapError when there are not as many labels as points.
    """
    if len(labels) != len(map_.points):
        raise MapError(f"{len(labels)} labels do not fit the {len(map_.points)} points of '{map_.name}'")
    # NO_POINT is the last row of this table, too.
    table = np.append(np.asarray(labels, np.int64), BACKGROUND)
    return tuple(
        label_features(image.features, table[image.point_rows], image.point_rows, image.name) for image in map_.images
    )


def split_images(
    images: Sequence[LabelledImage], every: int
) -> tuple[tuple[LabelledImage, ...], tuple[LabelledImage, ...]]:
    """Images for training, and for validation the middle one of each group of ``every``."""
    held_out = set(range(every // 2, len(images), every))
    return (
        tuple(image for index, image in enumerate(images) if index not in held_out),
        tuple(images[index] for index in sorted(held_out)),
    )


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
