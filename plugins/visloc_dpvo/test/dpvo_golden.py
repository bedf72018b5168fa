"""A network and a scene with known results: weights, images, patches and edges that formulas define."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from visloc_dpvo import lie
from visloc_dpvo.edge_groups import EdgeGroups
from visloc_dpvo.network import PatchNetwork

TANGENTS = ((0.0,) * 6, (0.10, -0.05, 0.02, 0.01, 0.02, -0.015), (0.25, -0.02, 0.05, -0.02, 0.03, 0.01))
CENTRES = ((3, 4), (10, 6), (18, 9), (22, 14))
INTRINSICS = (20.0, 22.0, 12.0, 8.0)
KK = (0, 0, 0, 1, 1, 5, 5, 9, 9, 2, 6)
JJ = (2, 0, 1, 2, 1, 2, 0, 1, 0, 0, 1)


class Scene(NamedTuple):
    """Three frames with four patches each, and eleven edges between them."""

    poses: Tensor
    patches: Tensor
    intrinsics: Tensor
    ii: Tensor
    jj: Tensor
    kk: Tensor


def golden_network() -> PatchNetwork:
    """Every weight from its number in the state dictionary and its place in the tensor."""
    network = PatchNetwork().eval().requires_grad_(False)
    for number, tensor in enumerate(network.state_dict().values()):
        tensor.copy_(_golden_weight(number, tensor))
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.add_(1.0)
            assert name.startswith("update.")
    return network


def _golden_weight(number: int, tensor: Tensor) -> Tensor:
    element = np.arange(tensor.numel(), dtype=np.int64)
    values = 2.0 * (((7919 * element + 104729 * (element // 7) + 31 * number) % 10007) / 10007) - 1.0
    factor = 1.4 * math.sqrt(3.0 / (tensor.numel() / len(tensor))) if tensor.ndim > 1 else 0.1
    return torch.from_numpy(factor * values).view(tensor.shape)


def golden_images() -> Tensor:
    """Three images (3, 3, 64, 96) uint8."""
    f, c, y, x = np.meshgrid(range(3), range(3), range(64), range(96), indexing="ij")
    waves = np.sin(0.13 * x + 0.07 * y + c + 0.4 * f) * np.cos(0.05 * x - 0.11 * y + 0.5 * c)
    return torch.from_numpy(np.floor(127.5 * (1 + waves)).astype(np.uint8))


def golden_scene() -> Scene:
    """Poses, patches with inverse depth 0.2 + 0.05 p, and edges."""
    ij = torch.arange(3.0) - 1
    centres = torch.tensor(CENTRES * 3, dtype=torch.float32)[..., None, None]
    depth = 0.2 + 0.05 * torch.arange(12.0)[:, None, None]
    patches = torch.stack(torch.broadcast_tensors(centres[:, 0] + ij, centres[:, 1] + ij[:, None], depth), 1)
    kk, jj = torch.tensor(KK), torch.tensor(JJ)
    poses = lie.exp(torch.tensor(TANGENTS))
    return Scene(poses, patches.contiguous(), torch.tensor(INTRINSICS).repeat(3, 1), kk // 4, jj, kk)


def neighbours(ii: Tensor, jj: Tensor, kk: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (E,) that the update operator has before and after each edge, along its patch; -1 where there is none."""
    before, after = torch.full_like(kk, -1), torch.full_like(kk, -1)
    for piece in EdgeGroups.of(ii, jj, kk).patches:
        joined = piece.joined[1:]
        first, second = piece.edges[:-1][joined], piece.edges[1:][joined]
        before[second], after[first] = first, second
    return before, after
