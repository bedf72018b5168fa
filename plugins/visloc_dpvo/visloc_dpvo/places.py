"""Finds an earlier frame of the same place: VLAD over local features, with visual words learnt on the way.

In place of a vocabulary file made from other people's images, the words come from the frames
themselves: learnt when the first query is possible, and again each time the number of frames has doubled, so that they
also fit places that came later. No training data, nothing to download, the same answer in every run.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import Vlad, VladConfig

MIN_FRAMES_APART = 50
MIN_LOOPS_APART = 50.0  # in the plane of query and place
_WORDS = VladConfig(clusters=64, max_samples=20_000, iterations=10)


class Hit(NamedTuple):
    """A ``query`` frame that looks like an earlier one, ``place``."""

    query: int
    place: int


class PlaceIndex:
    """All frames so far by number, ascending, with gaps where frames were left out."""

    def __init__(self, min_score: float) -> None:
        self._min_score = min_score
        self._frames: list[int] = []
        self._features: dict[int, LocalFeatures] = {}
        self._vlad: Vlad | None = None
        self._vectors = np.empty((0, 0), dtype=np.float32)
        self._num_added, self._trained_at = 0, 0

    def __len__(self) -> int:
        return len(self._frames)

    def features(self, frame: int) -> LocalFeatures | None:
        """Local features of a frame, None where it was left out or forgotten."""
        return self._features.get(frame)

    def add(self, frame: int, features: LocalFeatures) -> Hit | None:
        """Take in the next frame; the frame most like it among those long before, if any is alike enough."""
        self._num_added += 1
        self._frames.append(frame)
        self._features[frame] = replace(features, descriptors=features.descriptors.astype(np.float16))
        if self._needs_training():
            self._vlad = self._train()
        elif self._vlad is not None:
            self._store(len(self._frames) - 1, self._vlad.describe_features(features))
        return None if self._vlad is None else self._query()

    def forget_before(self, frame: int) -> None:
        """Forget all frames before this one."""
        gone = sum(number < frame for number in self._frames)
        for number in self._frames[:gone]:
            del self._features[number]
        self._frames = self._frames[gone:]
        self._vectors = self._vectors[gone:]

    def _query(self) -> Hit | None:
        """Compare the newest frame with all that are long before it."""
        query = self._frames[-1]
        old = sum(frame <= query - MIN_FRAMES_APART for frame in self._frames)
        if old == 0:
            return None
        scores = self._vectors[:old] @ self._vectors[len(self._frames) - 1]
        best = int(np.argmax(scores))
        return Hit(query, self._frames[best]) if scores[best] >= self._min_score else None

    def _needs_training(self) -> bool:
        if self._vlad is not None:
            return self._num_added >= 2 * self._trained_at
        if self._frames[-1] - self._frames[0] < MIN_FRAMES_APART:
            return False
        return sum(map(len, self._features.values())) >= _WORDS.clusters

    def _train(self) -> Vlad:
        """Learn the visual words from all frames, and describe these again."""
        features = [self._features[frame] for frame in self._frames]
        vlad = Vlad.train([one.descriptors for one in features], _WORDS)
        self._trained_at = self._num_added
        self._vectors = np.stack([vlad.describe_features(one) for one in features])
        return vlad

    def _store(self, row: int, vector: NDArray[np.float32]) -> None:
        if row == len(self._vectors):
            room = np.empty((max(row, 1), len(vector)), dtype=np.float32)
            self._vectors = np.concatenate((self._vectors.reshape(-1, len(vector)), room))
        self._vectors[row] = vector


class LoopDetector:
    """Declares a loop when frames in a row look like earlier ones, and no loop near it has been closed."""

    def __init__(self, frames_in_a_row: int) -> None:
        self.closed: list[Hit] = []
        self._frames_in_a_row = frames_in_a_row
        self._hits: list[Hit] = []

    def consider(self, hit: Hit | None) -> Hit | None:
        """Take the newest frame's hit, if it has one; gives the middle one of a row, which ends the row."""
        if hit is None or any(math.dist(hit, loop) < MIN_LOOPS_APART for loop in self.closed):
            return None
        if self._hits and hit.query != self._hits[-1].query + 1:
            self._hits.clear()
        self._hits.append(hit)
        if len(self._hits) < self._frames_in_a_row:
            return None
        row, self._hits = self._hits, []
        return row[(len(row) - 1) // 2]
