"""Features of the newest frames; frame f lies in slot (f + forgotten frames) modulo the ring's length."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from visloc_dpvo.config import HIDDEN_SIZE, MATCHING_CHANNELS, PATCH_SIDE

_COARSE = 4  # the second level of the correlation pyramid averages 4 x 4 cells


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """The network's output for one frame of h x w cells with M patches.

    ``fmap`` (128, h, w) is compared with ``gmap`` (M, 128, 3, 3) of other frames' patches; ``context`` (M, 384).
    """

    fmap: Tensor
    gmap: Tensor
    context: Tensor


class FeatureRings:
    """Maps of the newest R frames in two levels, and patch features of the newest P frames."""

    def __init__(
        self,
        map_frames: int,
        patch_frames: int,
        patches_per_frame: int,
        map_size: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        height, width = map_size
        self.map_frames, self.patch_frames = map_frames, patch_frames
        self.patches_per_frame = patches_per_frame
        self._forgotten = 0

        maps, patches = (map_frames, MATCHING_CHANNELS), (patch_frames, patches_per_frame)
        zeros = partial(torch.zeros, device=device, dtype=dtype)
        # Correlation gathers all channels of a cell at a time.
        self.fmap0 = zeros(*maps, height, width).to(memory_format=torch.channels_last)
        self.fmap1 = zeros(*maps, height // _COARSE, width // _COARSE).to(memory_format=torch.channels_last)
        self.gmap = zeros(*patches, MATCHING_CHANNELS, PATCH_SIDE, PATCH_SIDE)
        self.context = zeros(*patches, HIDDEN_SIZE)

    def store(self, frame: int, features: FrameFeatures) -> None:
        """Put a frame's features into its slots."""
        row = self._slot(frame, self.map_frames)
        self.fmap0[row] = features.fmap
        self.fmap1[row] = functional.avg_pool2d(features.fmap[None], _COARSE)[0]
        row = self._slot(frame, self.patch_frames)
        self.gmap[row], self.context[row] = features.gmap, features.context

    def rows_of(self, frame: int) -> tuple[int, int]:
        """Rows of a frame's maps and of its patches."""
        return self._slot(frame, self.map_frames), self._slot(frame, self.patch_frames)

    def write(self, map_row: Tensor, patch_row: Tensor, features: FrameFeatures) -> None:
        """As ``store``, where a device alone knows the rows (1,)."""
        self.fmap0.index_copy_(0, map_row, features.fmap[None])
        self.fmap1.index_copy_(0, map_row, functional.avg_pool2d(features.fmap[None], _COARSE))
        self.gmap.index_copy_(0, patch_row, features.gmap[None])
        self.context.index_copy_(0, patch_row, features.context[None])

    def copy(self, source: int, target: int) -> None:
        """Give a frame the features of another one."""
        to, since = self._slot(target, self.map_frames), self._slot(source, self.map_frames)
        self.fmap0[to], self.fmap1[to] = self.fmap0[since], self.fmap1[since]
        to, since = self._slot(target, self.patch_frames), self._slot(source, self.patch_frames)
        self.gmap[to], self.context[to] = self.gmap[since], self.context[since]

    def forget(self, frames: int) -> None:
        """Follow a renumbering that leaves out the first ``frames``."""
        self._forgotten += frames

    def frame_rows(self, jj: Tensor) -> Tensor:
        """Rows of frames ``jj`` in ``pyramid``."""
        return (jj + self._forgotten) % self.map_frames

    def patch_rows(self, kk: Tensor) -> Tensor:
        """Rows of patches ``kk`` in ``flat_gmap`` and ``flat_context``."""
        frame, slot = kk // self.patches_per_frame, kk % self.patches_per_frame
        return ((frame + self._forgotten) % self.patch_frames) * self.patches_per_frame + slot

    @property
    def pyramid(self) -> tuple[Tensor, Tensor]:
        """Maps (R, 128, h, w) and (R, 128, h // 4, w // 4)."""
        return self.fmap0, self.fmap1

    @property
    def flat_gmap(self) -> Tensor:
        """Patch features (P * M, 128, 3, 3)."""
        return self.gmap.flatten(0, 1)

    @property
    def flat_context(self) -> Tensor:
        """Context (P * M, 384)."""
        return self.context.flatten(0, 1)

    def _slot(self, frame: int, length: int) -> int:
        return (frame + self._forgotten) % length
