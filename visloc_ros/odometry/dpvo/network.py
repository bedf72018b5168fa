"""The whole network under the names of the published state dictionary, and what is cut out of its feature maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visloc_ros.odometry.dpvo.encoder import Encoder, instance_norm, no_norm
from visloc_ros.odometry.dpvo.layers import set_product_type
from visloc_ros.odometry.dpvo.sizes import HIDDEN_SIZE, MATCHING_CHANNELS, PATCH_SIDE
from visloc_ros.odometry.dpvo.update import UpdateOperator

_FEATURE_SCALE = 0.25


class Patchifier(nn.Module):
    """Matching features ``fnet``, normalised per image, and context ``inet``."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder(MATCHING_CHANNELS, instance_norm)
        self.inet = Encoder(HIDDEN_SIZE, no_norm)
        self.to(memory_format=torch.channels_last)


class PatchNetwork(nn.Module):
    """Encoders and update operator; 94 tensors with 3,384,324 numbers (Teed et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.patchify = Patchifier()
        self.update = UpdateOperator()

    def set_precision(self, dtype: torch.dtype) -> None:
        """Multiply in ``dtype``: float32, float16 on a GPU, bfloat16 on a CPU that has it.

        Features are given out in that type. Norms, hidden states, corrections and weights stay in float32.
        """
        set_product_type(self.patchify, dtype)
        self.update.set_precision(dtype)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Matching features (128, H/4, W/4) and context (384, H/4, W/4) of a uint8 image (3, H, W), channels BGR.

        Height and width are multiples of 4.
        """
        planes = 2.0 * (image.float() / 255.0) - 0.5
        return _FEATURE_SCALE * self.patchify.fnet(planes), _FEATURE_SCALE * self.patchify.inet(planes)

    def extract(self, fmap: Tensor, imap: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut patches around integer pixels ``centres`` (M, 2) (x, y), at least one pixel away from the border.

        Gives their matching features (M, 128, 3, 3), the context of their centres (M, 384), and patches (M, 3, 3, 3)
        with x, y and an inverse depth of 1.
        """
        columns, rows = _window(centres)
        features = fmap[:, rows, columns].transpose(0, 1)
        context = imap[:, centres[:, 1], centres[:, 0]].T
        shape = len(centres), PATCH_SIDE, PATCH_SIDE
        x, y = columns.expand(shape), rows.expand(shape)
        patches = torch.stack((x, y, torch.ones_like(x)), 1).float()
        return features, context, patches


def _window(centres: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (M, 1, 3) and rows (M, 3, 1) of the pixels around centres (M, 2)."""
    around = torch.arange(PATCH_SIDE, device=centres.device) - PATCH_SIDE // 2
    centres = centres.long()
    return centres[:, :1, None] + around, centres[:, 1:, None] + around[:, None]
