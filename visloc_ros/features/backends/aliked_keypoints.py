"""Keypoints of a score map: peaks, and where between the pixels they are."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BORDER = 2
_SOFT_ARGMAX_RADIUS = 2
_SOFT_ARGMAX_TEMPERATURE = 0.1


def detect(scores: Tensor, max_keypoints: int, threshold: float, radius: int) -> tuple[Tensor, Tensor]:
    """Keypoints (N, 2) at sub-pixel positions x, y and their scores (N,), strongest first, of a score map (H, W)."""
    width = scores.shape[1]
    peaks = _suppress(scores, radius)
    margin = max(radius, BORDER)
    inner = peaks[margin:-margin, margin:-margin]
    rows, columns = torch.where(inner > threshold)
    order = inner[rows, columns].argsort(descending=True, stable=True)[:max_keypoints]
    rows, columns = rows[order] + margin, columns[order] + margin
    pixels = torch.stack((columns, rows), dim=1) + _soft_argmax(scores, rows * width + columns)
    return pixels, scores[rows, columns]


def _suppress(scores: Tensor, radius: int) -> Tensor:
    """Zero whatever is not the largest score within ``radius``; two more rounds find peaks beside suppressed ones."""
    is_peak = scores == _window_max(scores, radius)
    for _ in range(2):
        covered = _window_max(is_peak.float(), radius) > 0
        remaining = scores.masked_fill(covered, 0.0)
        is_peak = is_peak | ((remaining == _window_max(remaining, radius)) & ~covered)
    return scores.masked_fill(~is_peak, 0.0)


def _window_max(values: Tensor, radius: int) -> Tensor:
    """Largest value within ``radius`` rows and columns of every pixel; OpenCV is 20 times faster on a CPU."""
    size = 2 * radius + 1
    if values.device.type == "cpu":
        return torch.from_numpy(cv2.dilate(values.numpy(), np.ones((size, size), np.uint8)))
    rows = F.max_pool2d(values[None, None], (1, size), stride=1, padding=(0, radius))
    return F.max_pool2d(rows, (size, 1), stride=1, padding=(radius, 0))[0, 0]


def _soft_argmax(scores: Tensor, flat_index: Tensor) -> Tensor:
    """Sub-pixel shift (N, 2) in x, y: expectation over the softmax of the 5x5 scores around each peak."""
    steps = torch.arange(-_SOFT_ARGMAX_RADIUS, _SOFT_ARGMAX_RADIUS + 1, device=scores.device)
    shift_y, shift_x = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    neighbours = flat_index[:, None] + shift_y * scores.shape[1] + shift_x
    weights = torch.softmax(scores.flatten()[neighbours] / _SOFT_ARGMAX_TEMPERATURE, dim=1)
    return weights @ torch.stack((shift_x, shift_y), dim=1).to(scores)
