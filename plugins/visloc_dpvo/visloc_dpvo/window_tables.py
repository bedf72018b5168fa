"""The measured pairs of a window as tables of fixed sizes, whose place on the GPU stays the same from frame to frame.

Places that are not needed are filled: pairs with a spare frame measured in itself, which moves nothing, sources with
no pairs. All tables go to the GPU in one copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visloc_dpvo.bundle_equations import BundleLayout
from visloc_dpvo.config import START_FRAMES, DpvoConfig
from visloc_dpvo.edge_groups import EdgeGroups, Piece
from visloc_dpvo.pairs import NEW, MeasuredPairs, Rows


@dataclass(frozen=True)
class WindowSizes:
    """The most that a window can have: pairs, source frames, targets of one source, free poses, pairs looked at.

    ``spare`` is a frame that is never used.
    """

    pairs: int
    sources: int
    targets: int
    free: int
    checked: int
    patches: int
    spare: int

    @staticmethod
    def of(config: DpvoConfig) -> WindowSizes:
        """Sizes of a configuration, as they are when no frame is ever dropped."""
        config = config.resolved()
        sources, reach = max(config.removal_window, START_FRAMES) + 1, config.patch_lifetime - 1
        pairs = sum(min(age, reach) + reach + 1 for age in range(sources))
        free = max(config.optimization_window, START_FRAMES - 1)
        return WindowSizes(
            pairs, sources, 2 * reach + 1, free, reach + 2, config.patches_per_frame, config.buffer_size - 1
        )


@dataclass(frozen=True)
class Places:
    """What the tables are made of: numbers of frames, and rows of the rings of features by frame.

    ``checked`` are places of pairs that are looked at after the update.
    """

    pairs: MeasuredPairs
    first_free: int
    num_frames: int
    num_forgotten: int
    checked: Rows


class WindowTables:
    """Tables on a device; ``fill`` writes new values into them, everything else reads them there."""

    def __init__(self, sizes: WindowSizes, ring_frames: int, device: torch.device) -> None:
        self.sizes, self._ring_frames = sizes, ring_frames
        lengths = _lengths(sizes)
        self._host = torch.zeros(sum(lengths.values()), dtype=torch.int64, pin_memory=device.type == "cuda")
        self._device = torch.zeros_like(self._host, device=device)
        bounds = np.cumsum([0, *lengths.values()]).tolist()
        parts = zip(lengths, bounds[:-1], bounds[1:], strict=True)
        slices = {name: slice(begin, end) for name, begin, end in parts}
        self._values = {name: self._host.numpy()[part] for name, part in slices.items()}
        self._tables = {name: self._device[part] for name, part in slices.items()}
        self._patch = torch.arange(sizes.patches, device=device)

    def fill(self, places: Places) -> None:
        """Write the tables of these pairs; the device must have done all that was asked of it with the last ones."""
        sizes, pairs, values = self.sizes, places.pairs, self._values
        count = len(pairs)
        sources, slot, counts = np.unique(pairs.source, return_inverse=True, return_counts=True)
        if count > sizes.pairs or len(sources) > sizes.sources or counts.max(initial=0) > sizes.targets:
            raise AssertionError(f"{count} pairs of {len(sources)} frames are more than a window of {sizes} has")
        starts = np.cumsum(counts) - counts
        source = np.append(pairs.source, np.full(sizes.pairs - count, sizes.spare))
        target = np.append(pairs.target, np.full(sizes.pairs - count, sizes.spare))
        frames = np.append(sources, np.full(sizes.sources + 1 - len(sources), sizes.spare))
        values["source"][:], values["target"][:], values["source_frame"][:] = source, target, frames
        values["slot"][:], values["slot"][:count] = sizes.sources, slot
        values["block"][:], values["block"][:count] = NEW, pairs.block
        values["block"][values["block"] == NEW] = sizes.pairs
        values["first"][:], values["step"][:] = np.arange(sizes.pairs) * sizes.patches, 1
        values["first"][:count] = starts[slot] * sizes.patches + np.arange(count) - starts[slot]
        values["step"][:count] = counts[slot]
        values["group_start"][:], values["group_start"][: len(sources)] = 0, starts * sizes.patches
        values["group_size"][:], values["group_size"][: len(sources)] = 0, counts
        values["patch_frame"][:] = values["map_frame"][:] = 0
        values["patch_frame"][:count] = (pairs.source + places.num_forgotten) % self._ring_frames
        values["map_frame"][:count] = (pairs.target + places.num_forgotten) % self._ring_frames
        for name, numbers in (("target_pose", target), ("source_pose", frames)):
            is_free = (numbers >= places.first_free) & (numbers < places.num_frames)
            values[name][:] = np.where(is_free, numbers - places.first_free, sizes.free)
        free = np.arange(places.first_free, places.first_free + sizes.free)
        values["free_frame"][:] = np.where(free < places.num_frames, free, sizes.spare)
        values["checked"][:], values["checked"][: len(places.checked)] = sizes.pairs - 1, places.checked
        self._device.copy_(self._host, non_blocking=True)

    def __getitem__(self, name: str) -> Tensor:
        """A table by its name in ``_lengths``."""
        return self._tables[name]

    def of_edges(self, by_pair: Tensor) -> Tensor:
        """Values (P,) of pairs for each of their edges (P * M,)."""
        return by_pair[:, None].expand(-1, self.sizes.patches).reshape(-1)

    def of_patches(self, by_frame: Tensor) -> Tensor:
        """Numbers (F * M,) of the patches of frames (F,)."""
        return (by_frame[:, None] * self.sizes.patches + self._patch).flatten()

    def groups(self) -> EdgeGroups:
        """Which edges exchange messages."""
        return EdgeGroups((self._along_patches(),), (self._across_pairs(),))

    def _along_patches(self) -> Piece:
        """The edges patch by patch, sorted by target; filled ones come last, and belong to no group."""
        places = (self["first"][:, None] + self["step"][:, None] * self._patch).flatten()
        edges = torch.arange(len(places), device=places.device)
        order, group = torch.empty_like(places), torch.empty_like(places)
        order[places] = edges
        group[places] = self.of_patches(self["slot"])
        size = self["group_size"][:, None]
        starts = (self["group_start"][:, None] + size * self._patch).flatten()
        column = torch.arange(self.sizes.targets, device=places.device)
        present = column < size.clamp(min=1).expand(-1, self.sizes.patches).reshape(-1, 1)  # else there is no maximum
        members = (starts[:, None] + column).clamp(max=len(edges) - 1)
        is_first = torch.zeros_like(places, dtype=torch.bool)
        is_first[places] = self.of_edges(self._is_first_of_source())
        return Piece(order, ~is_first, members, present, group)

    def _is_first_of_source(self) -> Tensor:
        """Whether no pair of the same source comes before (P,); of filled ones, always."""
        slot = self["slot"]
        is_first = torch.cat((torch.ones_like(slot[:1], dtype=torch.bool), slot[1:] != slot[:-1]))
        return is_first | (slot == self.sizes.sources)

    def _across_pairs(self) -> Piece:
        """The edges pair by pair, as they are anyway."""
        members = torch.arange(self.sizes.pairs * self.sizes.patches, device=self._patch.device)
        members = members.view(-1, self.sizes.patches)
        group = self.of_edges(torch.arange(self.sizes.pairs, device=members.device))
        present = torch.ones_like(members, dtype=torch.bool)
        return Piece(members.flatten(), present.flatten(), members, present, group, is_block=True)

    def layout(self) -> BundleLayout:
        """Indices of the adjustment."""
        pairs, patches, frames = self.sizes.pairs, self.sizes.patches, self.sizes.sources + 1
        cells = torch.arange(frames * patches, device=self._patch.device)
        return BundleLayout(
            pair=self.of_edges(torch.arange(pairs, device=cells.device)),
            patch=self.of_patches(self["slot"]),
            pair_source=self["slot"],
            pair_i=self["source"],
            pair_j=self["target"],
            patch_ids=self.of_patches(self["source_frame"]),
            cells=cells,
            row_source=torch.cat((self["slot"], torch.arange(frames, device=cells.device))),
            row_pose=torch.cat((self["target_pose"], self["source_pose"])),
            num_sources=frames,
            patches_per_source=patches,
            free_frames=self["free_frame"],
            is_window=True,
        )


def _lengths(sizes: WindowSizes) -> dict[str, int]:
    """Names and lengths of the tables: of pairs, of sources (one more for filled pairs), and others."""
    of_pairs = ("source", "target", "slot", "block", "first", "step", "patch_frame", "map_frame", "target_pose")
    of_sources = ("source_frame", "source_pose", "group_start", "group_size")
    lengths = dict.fromkeys(of_pairs, sizes.pairs) | dict.fromkeys(of_sources, sizes.sources + 1)
    return lengths | {"free_frame": sizes.free, "checked": sizes.checked}
