"""The network: MobileNetV3 (Howard et al., ICCV 2019), a feature pyramid on it (Lin et al., CVPR 2017), and heads."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small

from visloc_ros.core.errors import ModelError

_LEVELS = (2, 4, 9, 12)  # of the layers of MobileNetV3: the last of strides 4, 8, 16 and 32 before the next, exclusive
_CHANNELS = (16, 24, 48, 96)
_WIDTH = 64
_DROPOUT = 0.2
_MOMENTUM = 0.1  # of means and variances: that of MobileNetV3 is for a training of thousands of steps
_LEAST_DEVIATION = 1e-3
_MAX_REASON = 160


class InstanceNetwork(nn.Module):
    """Recognises instances in images (B, 3, H, W), values in [0, 1], H and W multiples of 32.

    ``forward`` gives logits of the mask (B, C, H / 4, W / 4), those of the presence of each class (B, C), and the
    unit descriptors (B, G) of whole images: the largest responses anywhere, as LBR has them.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers = mobilenet_v3_small(weights=None, norm_layer=partial(nn.BatchNorm2d, momentum=_MOMENTUM)).features
        self.stages = nn.ModuleList(layers[first:stop] for first, stop in _slices())
        self.lateral = nn.ModuleList(nn.Conv2d(channels, _WIDTH, 1) for channels in _CHANNELS)
        self.smooth = nn.Sequential(_block(_WIDTH, _WIDTH), _block(_WIDTH, _WIDTH), nn.Dropout2d(_DROPOUT))
        self.mask = nn.Conv2d(_WIDTH, num_classes, 1)
        self.presence = nn.Linear(_CHANNELS[-1], num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the mask and of presence, and descriptors."""
        x = _standardised(images)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        merged = self.lateral[-1](levels[-1])
        for lateral, level in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            merged = lateral(level) + F.interpolate(merged, level.shape[-2:], mode="nearest")
        logits = self.mask(self.smooth(merged))
        return logits, self.presence(levels[-1].mean((2, 3))), F.normalize(levels[-1].amax((2, 3)), dim=1)


def load_backbone(network: InstanceNetwork, path: Path) -> None:
    """Load weights of torchvision's MobileNetV3-small into the network's backbone. Raises ModelError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        layers = mobilenet_v3_small(weights=None).features
        layers.load_state_dict(
            {name.removeprefix("features."): one for name, one in state.items() if name.startswith("features.")}
        )
    except (OSError, RuntimeError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise ModelError(
            f"{path} does not hold weights of torchvision's mobilenet_v3_small: {reason}; leave training.weights out, "
            "or give such a file"
        ) from error
    for stage, (first, stop) in zip(network.stages, _slices(), strict=True):
        stage.load_state_dict(layers[first:stop].state_dict())


def _slices() -> list[tuple[int, int]]:
    """Layers of each stage: from, and up to."""
    return list(zip((0, *_LEVELS[:-1]), _LEVELS, strict=True))


def _standardised(images: Tensor) -> Tensor:
    """Every channel of every image with mean 0 and deviation 1: its exposure and the colour of its light are gone."""
    mean, deviation = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True)
    return (images - mean) / (deviation + _LEAST_DEVIATION)


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )
