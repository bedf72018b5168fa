"""Measured pairs of frames, known in main memory: a GPU need not be waited for to count, add or end measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
NEW = -1


@dataclass(frozen=True, eq=False)
class MeasuredPairs:
    """Frames ``source`` and ``target`` (P,), sorted: every patch of the one is measured in the other.

    ``block`` (P,) says where the window keeps what the last update gave, ``NEW`` before the first one.
    """

    source: Rows
    target: Rows
    block: Rows

    @staticmethod
    def none() -> MeasuredPairs:
        """No pairs at all."""
        nothing = np.empty(0, np.int64)
        return MeasuredPairs(nothing, nothing, nothing)

    def __len__(self) -> int:
        return len(self.source)

    def with_newest(self, newest: int, lifetime: int) -> MeasuredPairs:
        """Also the last frames' patches in the newest frame, and its own in the last frames and in itself."""
        last = np.arange(max(newest + 1 - lifetime, 0), newest)
        own = np.append(last, newest)
        source = np.concatenate((self.source, last, np.full(len(own), newest)))
        target = np.concatenate((self.target, np.full(len(last), newest), own))
        block = np.concatenate((self.block, np.full(len(last) + len(own), NEW)))
        order = np.lexsort((target, source))
        return MeasuredPairs(source[order], target[order], block[order])

    def without_sources_before(self, frame: int) -> MeasuredPairs:
        """The pairs whose patches are of ``frame`` or younger."""
        return self._chosen(self.source >= frame)

    def without_frame(self, frame: int) -> MeasuredPairs:
        """Pairs that do not touch a frame, renumbered as if it had never been."""
        kept = self._chosen((self.source != frame) & (self.target != frame))
        return MeasuredPairs(kept.source - (kept.source > frame), kept.target - (kept.target > frame), kept.block)

    def without_oldest(self, frames: int) -> MeasuredPairs:
        """Pairs that touch none of the first ``frames``, renumbered without them."""
        kept = self._chosen((self.source >= frames) & (self.target >= frames))
        return MeasuredPairs(kept.source - frames, kept.target - frames, kept.block)

    def updated(self) -> MeasuredPairs:
        """The same pairs after an update, which leaves a block for each in their order."""
        return MeasuredPairs(self.source, self.target, np.arange(len(self)))

    def find(self, source: int, target: int) -> int | None:
        """Place of a pair, None where it is not measured."""
        (places,) = np.nonzero((self.source == source) & (self.target == target))
        return int(places[0]) if len(places) else None

    def _chosen(self, kept: NDArray[np.bool_]) -> MeasuredPairs:
        return MeasuredPairs(self.source[kept], self.target[kept], self.block[kept])
