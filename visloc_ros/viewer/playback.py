"""Where a recording stands while it is played: no window, no threads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.trajectory import NANOSECONDS


@dataclass
class Playback:
    """Goes through stamps (N,) at ``speed`` times their own, from the beginning again after the end.

    ``index`` is the frame that is shown; it stands still unless ``is_playing``.
    """

    stamps_ns: NDArray[np.int64]
    speed: float = 1.0
    is_playing: bool = False
    _at_ns: float = field(init=False, default=0.0)  # since the first stamp

    @property
    def index(self) -> int:
        """The newest frame that is not ahead of the time that is shown."""
        since_ns = self.stamps_ns - self.stamps_ns[0]
        return max(0, int(np.searchsorted(since_ns, self._at_ns, side="right")) - 1)

    @property
    def time_s(self) -> float:
        """Seconds since the first frame."""
        return self._at_ns / NANOSECONDS

    def go_to(self, index: int) -> None:
        """Show this frame."""
        self._at_ns = float(self.stamps_ns[index] - self.stamps_ns[0])

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        if not self.is_playing:
            return
        last_ns = float(self.stamps_ns[-1] - self.stamps_ns[0])
        self._at_ns += seconds * self.speed * NANOSECONDS
        if self._at_ns > last_ns:
            self._at_ns = 0.0
