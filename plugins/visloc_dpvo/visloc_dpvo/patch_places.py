"""Where patches are cut from a new frame: anywhere, or where the image is steepest (Teed et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from visloc_dpvo.config import CELL_PX

_CANDIDATES = 3  # drawn for each patch that is kept


def random_centres(count: int, map_size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Cells (count, 2), x and y, whose 3 x 3 neighbourhood lies inside maps of (height, width); some may repeat."""
    height, width = map_size
    x = torch.randint(1, width - 1, (count,), generator=generator)
    y = torch.randint(1, height - 1, (count,), generator=generator)
    return torch.stack((x, y), dim=1)


def gradient_centres(image: Tensor, count: int, map_size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Cells (count, 2) as ``random_centres`` draws them, the steepest third of them in an image (3, H, W)."""
    candidates = random_centres(_CANDIDATES * count, map_size, generator)
    steepness = functional.avg_pool2d(_gradient(image)[None], CELL_PX)[0].cpu()
    height, width = steepness.shape  # one cell short at the border where the image ends with a whole cell
    values = steepness[candidates[:, 1].clamp(max=height - 1), candidates[:, 0].clamp(max=width - 1)]
    return candidates[values.topk(count).indices]


def _gradient(image: Tensor) -> Tensor:
    """Length (H - 1, W - 1) of the gradient of the sum over channels."""
    brightness = image.float().sum(dim=0)
    right = brightness[:-1, 1:] - brightness[:-1, :-1]
    down = brightness[1:, :-1] - brightness[:-1, :-1]
    return torch.hypot(right, down)
