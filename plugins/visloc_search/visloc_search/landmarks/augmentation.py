"""Training samples: tokens drawn from a map's images and altered as another view of the place would alter them.

A map keeps only keypoints that see one of its points; a third to a half of those that a camera finds are others:
background. The images' own background is used first; the rest is drawn from images of other places, and from mixtures
of several descriptors of the map (chimeras), which look like the place but show nothing of it. Otherwise the network
would learn that anything that looks a little like the place belongs to a landmark: the nearest map
descriptor of unmapped keypoints of 7-Scenes' red kitchen has a cosine of 0.53 to 0.70 (quartiles), of chimeras 0.56 to
0.67, and of keypoints of another place 0.40 to 0.47.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import NO_POINT
from visloc_search.landmarks.tokens import BACKGROUND, Float32, LabelledImage, Labels, unit_rows

_IMAGE_EXTENT = 1.4  # of the longer side in normalised positions
_WINDOW_EXTENT = (0.3, 0.9)  # half sides of the part that is seen, or hidden, in normalised positions
_MIXED = 4  # descriptors in a chimera, which is then as unlike the map's as unmapped parts of a real room
_MIXING = (0.3, 1.0)  # weights of these descriptors
_LEAST_SEEN = 8  # tokens of a partial view
_FEW_BACKGROUND = 0.1
_ADDED_BACKGROUND = 0.5  # background tokens per landmark token of a validation image

Rows = NDArray[np.int64]


class Batch(NamedTuple):
    """Samples: descriptors (B, K, D), positions (B, K, 2), labels (B, K), and which tokens are not padding (B, K)."""

    descriptors: Float32
    positions: Float32
    labels: Labels
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Augmentation:
    """Differences of samples from the map's images; shares and probabilities where no unit is given."""

    min_labelled: int = 32  # landmark tokens of a sample, if there are; one with fewer is filled up with background
    min_background: float = 0.1
    max_background: float = 0.7
    chimeras: float = 0.5  # of the foreign background
    negatives: float = 0.08  # samples that show only background
    track_swap: float = 0.4  # tokens with the descriptor of another observation of their point
    descriptor_noise: float = 0.03  # of each component of a unit descriptor
    min_scale: float = 0.5  # of positions
    max_shift: float = 0.1  # of the image
    max_roll_deg: float = 10.0
    max_dropout: float = 0.4  # tokens that a sample loses
    partial_views: float = 0.3  # only a part of an image is seen, or all but a part


class SampleMaker:
    """Makes the batch of a step, which depends only on the seed and the step, so that training can resume anywhere.

    A sample has at most ``tokens``. ``negatives`` are images of other places, possibly none. Raises MapError when no
    image shows a landmark.
    """

    def __init__(
        self,
        images: Sequence[LabelledImage],
        negatives: Sequence[LabelledImage],
        tokens: int,
        seed: int,
        augmentation: Augmentation = Augmentation(),
    ) -> None:
        self._tokens, self._seed = tokens, seed
        self._augmentation = augmentation
        self._store = TokenStore((*images, *negatives))
        self._labelled, self._background = self._rows_of(range(len(images)))
        self._negatives = [self._store.rows_of(len(images) + index) for index in range(len(negatives))]
        self._negatives = [rows for rows in self._negatives if len(rows)]
        self._showing = np.flatnonzero([len(rows) > 0 for rows in self._labelled])
        if not len(self._showing):
            raise MapError("no image of the map shows a landmark: build the map with more images")
        self._all_labelled = np.concatenate(self._labelled)

    def batch(self, step: int, size: int) -> Batch:
        """The ``size`` samples of a step."""
        rng = np.random.default_rng([self._seed, step])
        picked = [self._pick(rng) for _ in range(size)]
        rows, valid = _padded([real for real, _ in picked], [mixed for _, mixed in picked], self._tokens)
        mixed = _positions_of_mixed(picked, self._tokens)
        labels = np.where(mixed | ~valid, BACKGROUND, self._store.labels[rows])
        descriptors = self._descriptors(rows, mixed, rng)
        return Batch(descriptors, self._moved(self._store.positions[rows], rng), labels, valid)

    def for_validation(self, images: Sequence[LabelledImage]) -> list[LabelledImage]:
        """Held-out images made as difficult as queries.

        Their descriptors get the noise of training, because map images are nearer to each other than a query is to
        them; images with hardly any background get that of samples, if there is any.
        """
        rng = np.random.default_rng(self._seed)
        completed = [self._with_background(image, rng) for image in images]
        return [replace(image, descriptors=self._with_noise(image.descriptors, rng)) for image in completed]

    def _with_background(self, image: LabelledImage, rng: np.random.Generator) -> LabelledImage:
        shown = int((image.labels != BACKGROUND).sum())
        if shown <= (1.0 - _FEW_BACKGROUND) * len(image):
            return image
        real, mixed = self._foreign(round(_ADDED_BACKGROUND * shown), rng)
        rows = np.concatenate((real, mixed))
        descriptors = self._store.descriptors[real].astype(np.float32), self._chimeras(len(mixed), rng)
        return LabelledImage(
            np.concatenate((image.descriptors, *descriptors)),
            np.concatenate((image.positions, self._store.positions[rows])),
            np.concatenate((image.labels, np.full(len(rows), BACKGROUND))),
            np.concatenate((image.point_rows, np.full(len(rows), NO_POINT))),
        )

    def _rows_of(self, images: range) -> tuple[list[Rows], list[Rows]]:
        """Rows of landmark tokens and of background tokens of every image."""
        rows = [self._store.rows_of(index) for index in images]
        shown = [self._store.labels[one] != BACKGROUND for one in rows]
        return [one[mask] for one, mask in zip(rows, shown, strict=True)], [
            one[~mask] for one, mask in zip(rows, shown, strict=True)
        ]

    def _pick(self, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Rows of a sample's tokens, and of those whose descriptors become chimeras."""
        augmentation = self._augmentation
        total = round(self._tokens * (1.0 - rng.uniform(0.0, augmentation.max_dropout)))
        if self._negatives and rng.random() < augmentation.negatives:
            return self._elsewhere(total, rng), np.empty(0, np.int64)
        image = rng.choice(self._showing)
        labelled = self._seen(self._labelled[image], rng)
        share = rng.uniform(augmentation.min_background, max(augmentation.min_background, augmentation.max_background))
        labelled = _some(labelled, max(round(total * (1.0 - share)), min(augmentation.min_labelled, total)), rng)
        wanted = total - len(labelled)
        if len(labelled) > augmentation.min_labelled:
            wanted = min(wanted, round(len(labelled) * share / max(1.0 - share, 1e-3)))
        own = _some(self._background[image], wanted, rng)
        foreign, mixed = self._foreign(wanted - len(own), rng)
        return np.concatenate((labelled, own, foreign)), mixed

    def _foreign(self, count: int, rng: np.random.Generator) -> tuple[Rows, Rows]:
        """Background that the image lacks: rows of images of other places, and rows to mix."""
        share = self._augmentation.chimeras if self._negatives else float(self._augmentation.chimeras > 0.0)
        mixed = rng.choice(self._all_labelled, round(count * share))
        return (self._elsewhere(count - len(mixed), rng) if self._negatives else mixed[:0]), mixed

    def _elsewhere(self, count: int, rng: np.random.Generator) -> Rows:
        """Rows of one image of another place, or of several where one has too few."""
        found: Rows = np.empty(0, np.int64)
        for index in rng.permutation(len(self._negatives)):
            if len(found) == count:
                break
            found = np.concatenate((found, _some(self._negatives[index], count - len(found), rng)))
        return found

    def _seen(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Sometimes only the tokens within a random window around one of them, or only those around the window."""
        if rng.random() >= self._augmentation.partial_views:
            return rows
        positions = self._store.positions[rows]
        offsets = np.abs(positions - positions[rng.integers(len(rows))])
        inside = (offsets < rng.uniform(*_WINDOW_EXTENT, 2)).all(axis=1)
        kept = rows[inside if rng.random() < 0.5 else ~inside]
        return kept if len(kept) >= _LEAST_SEEN else rows

    def _descriptors(self, rows: Rows, mixed: NDArray[np.bool_], rng: np.random.Generator) -> Float32:
        """Descriptors (B, K, D): swapped along tracks, mixed to chimeras, and with noise."""
        swapped = rng.random(rows.shape) < self._augmentation.track_swap
        sources = np.where(swapped, self._store.other_observations(rows, rng), rows)
        descriptors = self._store.descriptors[sources].astype(np.float32)
        if mixed.any():
            descriptors[mixed] = self._chimeras(int(mixed.sum()), rng)
        return self._with_noise(descriptors, rng)

    def _with_noise(self, descriptors: Float32, rng: np.random.Generator) -> Float32:
        noise = rng.standard_normal(descriptors.shape, np.float32)
        return unit_rows(descriptors + np.float32(self._augmentation.descriptor_noise) * noise)

    def _chimeras(self, count: int, rng: np.random.Generator) -> Float32:
        """Descriptors (count, D), each mixed of several of the map's landmark tokens."""
        parts = self._store.descriptors[rng.choice(self._all_labelled, (count, _MIXED))]
        weights = rng.uniform(*_MIXING, (count, _MIXED, 1)).astype(np.float32)
        return unit_rows((weights * parts).sum(axis=1))

    def _moved(self, positions: Float32, rng: np.random.Generator) -> Float32:
        """Positions (B, K, 2) scaled, rolled and shifted, each sample by its own amounts."""
        augmentation, size = self._augmentation, (len(positions), 1)
        scale = rng.uniform(augmentation.min_scale, 1.0, size)
        roll = np.radians(rng.uniform(-augmentation.max_roll_deg, augmentation.max_roll_deg, size))
        shift = rng.uniform(-augmentation.max_shift, augmentation.max_shift, (len(positions), 1, 2)) * _IMAGE_EXTENT
        cosine, sine = scale * np.cos(roll), scale * np.sin(roll)
        x, y = positions[..., 0], positions[..., 1]
        return np.asarray(np.stack((cosine * x - sine * y, sine * x + cosine * y), -1) + shift, np.float32)


def _some(rows: Rows, count: int, rng: np.random.Generator) -> Rows:
    """At most ``count`` of the rows, drawn without repetition."""
    return rows if len(rows) <= count else rng.choice(rows, max(count, 0), replace=False, shuffle=False)


def _padded(real: list[Rows], mixed: list[Rows], length: int) -> tuple[Rows, NDArray[np.bool_]]:
    """Rows (B, K) of real tokens and then of mixed ones, padded with row 0, and which are not padding."""
    rows = np.zeros((len(real), length), np.int64)
    valid = np.zeros(rows.shape, np.bool_)
    for sample, parts in enumerate(zip(real, mixed, strict=True)):
        joined = np.concatenate(parts)
        rows[sample, : len(joined)] = joined
        valid[sample, : len(joined)] = True
    return rows, valid


def _positions_of_mixed(picked: list[tuple[Rows, Rows]], length: int) -> NDArray[np.bool_]:
    """Which tokens (B, K) of the padded rows are to be mixed."""
    column = np.arange(length)
    first = np.array([len(real) for real, _ in picked])[:, None]
    count = np.array([len(mixed) for _, mixed in picked])[:, None]
    return np.asarray((column >= first) & (column < first + count))


class TokenStore:
    """Descriptors (T, D) in half precision, positions (T, 2) and labels (T,) of all tokens of images.

    Half precision is a thirtieth of the noise that training adds. Raises ValueError without images.
    """

    def __init__(self, images: Sequence[LabelledImage]) -> None:
        self._ends = np.cumsum([len(image) for image in images])
        self.descriptors = np.concatenate([image.descriptors.astype(np.float16) for image in images])
        self.positions = np.concatenate([image.positions for image in images])
        self.labels = np.concatenate([image.labels for image in images])
        self._index_tracks(np.concatenate([image.point_rows for image in images]))

    def rows_of(self, image: int) -> Rows:
        """Rows of an image's tokens."""
        return np.arange(self._ends[image - 1] if image else 0, self._ends[image], dtype=np.int64)

    def other_observations(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """For each row that of an observation of the same map point, perhaps itself; itself without a point."""
        lengths = self._lengths[rows]
        drawn = self._starts[rows] + (rng.random(rows.shape) * lengths).astype(np.int64)
        return np.asarray(self._by_point[drawn])

    def _index_tracks(self, points: Rows) -> None:
        """List rows by point; a token without a point is a separate track."""
        alone = points == NO_POINT
        points = np.where(alone, points.max(initial=0) + 1 + np.arange(len(points)), points)
        self._by_point = np.argsort(points, kind="stable")
        _, track, counts = np.unique(points, return_inverse=True, return_counts=True)
        self._lengths = counts[track]
        self._starts = (np.cumsum(counts) - counts)[track]
