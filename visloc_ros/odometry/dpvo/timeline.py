"""Where every input frame was, kept or not: each hangs on the newest kept frame that is not younger than itself.

When a kept frame is dropped, all that hang on it are tied to the one before it, so there are never chains to walk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visloc_ros.odometry.dpvo import lie

_FIRST_CAPACITY = 256


class Timeline:
    """Inputs numbered from 0: ``stamps_ns`` of each, and its pose relative to the kept frame that it hangs on.

    Only inputs from ``first`` on are here; those before were given away by ``take_before``.
    """

    def __init__(self, device: torch.device) -> None:
        self.first = 0
        self.stamps_ns: list[int] = []
        self._relative = lie.identity(_FIRST_CAPACITY, device=device)

    def __len__(self) -> int:
        """Number of the next input."""
        return self.first + len(self.stamps_ns)

    def append(self, stamp_ns: int) -> int:
        """Count an input in; gives its number."""
        if len(self.stamps_ns) == len(self._relative):
            room = lie.identity(len(self._relative), device=self._relative.device)
            self._relative = torch.cat((self._relative, room))
        self.stamps_ns.append(stamp_ns)
        return len(self) - 1

    def stamp_ns(self, frame_id: int) -> int:
        """Stamp of an input."""
        return self.stamps_ns[frame_id - self.first]

    def tie(self, begin: int, end: int, dropped_from_kept: Tensor) -> None:
        """Hang inputs ``begin`` to ``end`` - 1, so far tied to a dropped frame, on the frame kept before it.

        ``dropped_from_kept`` (7,) is the dropped frame's pose times the inverse of the kept frame's.
        """
        rows = slice(begin - self.first, end - self.first)
        self._relative[rows] = lie.compose(self._relative[rows], dropped_from_kept)

    def scale(self, frame_ids: Tensor, factors: Tensor) -> None:
        """Multiply the lengths of what hangs on the kept frames ``frame_ids`` (n,) by ``factors`` (n,)."""
        rows = self._anchors(frame_ids)
        self._relative[: len(rows), :3] *= factors[rows, None]

    def poses(self, frame_ids: Tensor, camera_from_world: Tensor) -> Tensor:
        """Poses (T, 7) camera_from_world of all inputs, given those of the kept frames ``frame_ids`` (n,)."""
        rows = self._anchors(frame_ids)
        return lie.compose(self._relative[: len(rows)], camera_from_world[rows])

    def take_before(self, frame_id: int) -> list[int]:
        """Let go of the inputs before ``frame_id`` and give their stamps."""
        count = frame_id - self.first
        taken, self.stamps_ns = self.stamps_ns[:count], self.stamps_ns[count:]
        fresh = lie.identity(len(self._relative), device=self._relative.device)
        fresh[: len(self.stamps_ns)] = self._relative[count : count + len(self.stamps_ns)]
        self._relative, self.first = fresh, frame_id
        return taken

    def _anchors(self, frame_ids: Tensor) -> Tensor:
        """Row of the kept frame that each input hangs on (T,); inputs before the first one hang on it, too."""
        ids = torch.arange(self.first, len(self), device=frame_ids.device)
        return (torch.searchsorted(frame_ids, ids, right=True) - 1).clamp(min=0)
