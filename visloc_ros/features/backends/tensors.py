"""Images as tensors, and the checksum of a loaded network."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor, nn

from visloc_ros.core.types import Image


def as_tensor(image: Image, device: torch.device) -> Tensor:
    """Planes (1, C, H, W) in [0, 1] of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device, torch.float32) / 255.0
    planes = pixels[None] if image.ndim == 2 else pixels.permute(2, 0, 1)
    return planes[None].contiguous()


def pixel_scale(original: Image, resized: Image) -> tuple[float, float]:
    """Resized size / original size in x and y."""
    return resized.shape[1] / original.shape[1], resized.shape[0] / original.shape[0]


def digest(network: nn.Module) -> str:
    """SHA-256 over a network's weights, by name; empty for one without weights."""
    state = {name: value for name, value in network.state_dict().items() if value.numel()}
    if not state:
        return ""
    total = hashlib.sha256()
    for name in sorted(state):
        total.update(name.encode())
        total.update(state[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
