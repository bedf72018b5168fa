"""Which images a node skips, and counts, to keep up with its camera on a busy computer."""

from __future__ import annotations

from collections import deque

_MOST_WAITING = 2  # newer images that wait: a shorter queue catches up by itself
_WINDOW_S = 2.0  # over which it is judged whether the computer keeps up
_LEAST_SHARE = 0.1  # of the images, skipped, from which it does not: a keyframe here and there is no overload
_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


class CameraLoad:
    """Decides which images to skip: those behind which newer ones wait. Times are of one steady clock.

    After a short delay no image is skipped. While the computer does not keep up, the newest image is always the next
    one. One thread asks which images to skip; any thread may read the state.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._newest: deque[tuple[float, bool]] = deque()  # when images came up, and whether they were skipped

    def skips(self, num_waiting: int, now_s: float) -> bool:
        """Whether to skip the current image, given the number of newer ones that wait behind it."""
        while self._newest and now_s - self._newest[0][0] > _WINDOW_S:
            self._newest.popleft()
        is_skipped = num_waiting >= (1 if self.is_overloaded else _MOST_WAITING)
        self._newest.append((now_s, is_skipped))
        self.skipped += is_skipped
        return is_skipped

    @property
    def is_overloaded(self) -> bool:
        """Whether the computer has not kept up with the camera lately, and images are skipped."""
        return self._num_skipped > _LEAST_SHARE * len(self._newest)

    @property
    def words(self) -> str:
        """The measure against overload, or nothing."""
        if not self.is_overloaded:
            return ""
        ratio = round(len(self._newest) / max(1, len(self._newest) - self._num_skipped))
        if ratio < 2:
            return f"overloaded: {self._num_skipped} of the last {len(self._newest)} frames predicted, not followed"
        return f"overloaded: following every {_ORDINALS.get(ratio, f'{ratio}th')} frame, predicting the others"

    @property
    def _num_skipped(self) -> int:
        return sum(is_skipped for _, is_skipped in tuple(self._newest))  # copied at once: it may change meanwhile
