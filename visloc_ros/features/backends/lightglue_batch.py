"""One image matched with many at once by LightGlue, in tensors of few sizes; on a GPU each is a CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.features.backends.cuda_graph import GraphsByKey, Outputs
from visloc_ros.features.backends.lightglue_network import LightGlueNetwork, Prepared
from visloc_ros.features.types import Matches

_POINTS_STEP, _IMAGES_STEP = 128, 4  # that numbers are filled up to: every other one would be a graph of its own
_MAX_GRAPHS = 16


class BatchMatcher:
    """Pads images to one size, runs the network once, and splits the matches by reference."""

    def __init__(self, network: LightGlueNetwork, threshold: float, *, on_gpu: bool = False) -> None:
        self._network, self._threshold = network, threshold
        self._graphs = GraphsByKey(_MAX_GRAPHS) if on_gpu else None

    def match(self, query: Prepared, references: Sequence[Prepared]) -> list[Matches]:
        """Matches of the query with each of at least one reference; every image must have points."""
        both = self._partners_and_scores(query, references)
        return [self._matches(both[:, index, : len(query.state)]) for index in range(len(references))]

    def _partners_and_scores(self, query: Prepared, references: Sequence[Prepared]) -> NDArray[np.float32]:
        """Partner of every query point in each reference or -1, and its score (2, B, P)."""
        if self._graphs is None:
            return self._run(*_join([query, *references]))[0].numpy()
        repeated = [references[-1]] * (-len(references) % _IMAGES_STEP)
        inputs = _join([query, *references, *repeated])
        return self._graphs.run(inputs[0].shape, self._run, *inputs)[0].numpy()

    def _run(self, states: Tensor, encodings: Tensor, present: Tensor) -> Outputs:
        images = Prepared(states[0], encodings[0]), Prepared(states[1:], encodings[1:])
        partners, scores = self._network.match_batch(*images, present)
        return (torch.stack((partners.float(), scores)),)  # indices are exact in float32 up to 2^24

    def _matches(self, partners_scores: NDArray[np.float32]) -> Matches:
        partners, scores = partners_scores
        rows = np.flatnonzero((partners >= 0) & (scores > self._threshold))
        return Matches(np.column_stack((rows, partners[rows])).astype(np.int32), scores[rows])


def _join(images: Sequence[Prepared]) -> tuple[Tensor, Tensor, Tensor]:
    """States (B, P, 256), encodings (B, P, 64), and which points (B, P) are no padding."""
    sizes = [len(image.state) for image in images]
    count = padded_size(sizes)
    states, encodings = (
        torch.stack([F.pad(x, (0, 0, 0, count - len(x))) for x in tensors]) for tensors in zip(*images, strict=True)
    )
    present = torch.from_numpy(present_points(sizes))
    if states.is_cuda:
        present = present.pin_memory().to(states.device, non_blocking=True)
    return states, encodings, present


def fill_up(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Arrays (N, C) of the points of images as one (B, P, C), with zeros as padding."""
    filled = np.zeros((len(arrays), padded_size([len(array) for array in arrays]), arrays[0].shape[1]), np.float32)
    for row, array in zip(filled, arrays, strict=True):
        row[: len(array)] = array
    return filled


def padded_size(sizes: Sequence[int]) -> int:
    """Number of points that images with so many are filled up to."""
    return -(-max(sizes) // _POINTS_STEP) * _POINTS_STEP


def present_points(sizes: Sequence[int]) -> NDArray[np.bool_]:
    """Which points (B, P) of images that are filled up are no padding."""
    return np.arange(padded_size(sizes)) < np.array(sizes)[:, None]
