"""One image matched with many at once: tensors of one size, one copy to the host whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.features.backends.lightglue_network import LightGlueNetwork, Prepared
from visloc_ros.features.types import Matches

NO_MATCHES = Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
_POINTS_STEP = 128  # every new shape is compiled again, so there should be few of them
_IMAGES_STEP = 4


class BatchMatcher:
    """Fills images up to one size, runs the network once, and takes the matches apart again."""

    def __init__(self, network: LightGlueNetwork, threshold: float, compiled: bool) -> None:
        self._threshold = threshold
        self._compiled = compiled
        self._run: Callable[[Prepared, Prepared, Tensor], tuple[Tensor, Tensor]] = network.match_batch
        if compiled:
            self._run = torch.compile(network.match_batch, mode="reduce-overhead", fullgraph=True, dynamic=False)

    def match(self, query: Prepared, references: Sequence[Prepared]) -> list[Matches]:
        """Matches of the query with each of at least one reference; every image must have points."""
        repeated = -len(references) % _IMAGES_STEP if self._compiled else 0
        batch = [query, *references, *[references[-1]] * repeated]
        states, encodings, present = _fill_up(batch)
        partners, scores = self._run(Prepared(states[0], encodings[0]), Prepared(states[1:], encodings[1:]), present)
        both = torch.stack((partners.float(), scores)).cpu().numpy()  # indices are exact in float32 up to 2^24
        return [self._matches(both[:, index, : len(query.state)]) for index in range(len(references))]

    def _matches(self, partners_scores: NDArray[np.float32]) -> Matches:
        partners, scores = partners_scores
        rows = np.flatnonzero((partners >= 0) & (scores > self._threshold))
        return Matches(np.column_stack((rows, partners[rows])).astype(np.int32), scores[rows])


def _fill_up(images: Sequence[Prepared]) -> tuple[Tensor, Tensor, Tensor]:
    """States (B, P, 256), encodings (B, P, 64), and which points (B, P) are not there only to fill up."""
    sizes = [len(image.state) for image in images]
    count = -(-max(sizes) // _POINTS_STEP) * _POINTS_STEP
    states, encodings = (
        torch.stack([F.pad(x, (0, 0, 0, count - len(x))) for x in tensors]) for tensors in zip(*images, strict=True)
    )
    present = torch.from_numpy(np.arange(count) < np.array(sizes)[:, None])
    if states.is_cuda:
        present = present.pin_memory().to(states.device, non_blocking=True)
    return states, encodings, present
