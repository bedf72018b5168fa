"""A world of points with random descriptors in four landmarks, and what cameras see of it, as tokens."""

import numpy as np

from visloc_ros.core.map import NO_POINT
from visloc_search.landmarks.tokens import LabelledImage, normalise_positions

DIM = 32
LANDMARKS = 4
SIZE = (640, 360)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


class TokenWorld:
    """Points on a wall, a landmark in each quarter of it; a camera sees a random part of the wall."""

    def __init__(self, points=600, seed=0):
        self.rng = np.random.default_rng(seed)
        self.points = self.rng.uniform(-1.0, 1.0, (points, 2))
        self.labels = 1 + (self.points[:, 0] > 0) + 2 * (self.points[:, 1] > 0)
        # What belongs together looks alike in part, as in a real place.
        shared = self.rng.normal(size=(LANDMARKS + 1, DIM))
        self.descriptors = unit(self.rng.normal(size=(points, DIM)) + 0.5 * shared[self.labels])

    def view(self, noise=0.05):
        centre, extent = self.rng.uniform(-0.6, 0.6, 2), self.rng.uniform(0.5, 0.9)
        seen = np.flatnonzero((np.abs(self.points - centre) < extent).all(axis=1))
        seen = self.rng.permutation(seen)[:120]
        keypoints = ((self.points[seen] - centre) / extent + 1.0) / 2.0 * SIZE
        descriptors = unit(self.descriptors[seen] + noise * self.rng.normal(size=(len(seen), DIM)))
        return LabelledImage(descriptors, normalise_positions(keypoints, SIZE), self.labels[seen], seen)

    def elsewhere(self, count=80):
        positions = normalise_positions(self.rng.uniform(0, 1, (count, 2)) * SIZE, SIZE)
        descriptors = unit(self.rng.normal(size=(count, DIM)))
        return LabelledImage(descriptors, positions, np.zeros(count, np.int64), np.full(count, NO_POINT))

    def views(self, count):
        return [self.view() for _ in range(count)]
