"""DISK (Tyszkiewicz et al., NeurIPS 2020) as a ``LocalExtractor``, reading the published weights.

The last layer of the U-Net makes 128 descriptor channels and one of scores for every pixel, which is most of the
network's work. Here it makes the scores alone everywhere, and descriptors only where a keypoint is: kornia's DISK, of
the same keypoints and descriptors, takes 2.3 times as long on a processor (640 x 480, one thread).
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.weights import as_tensor, find_weights, load_weights, pick_device, pixel_scale
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.images import as_rgb, colmap_from_network, reduce_image
from visloc_ros.features.types import ModelInfo, OneByOne

STRIDE = 16
DIM = 128
_KERNEL = 5
_MARGIN = _KERNEL // 2


class DiskNetwork(nn.Module):
    """Image (1, 3, H, W) in [0, 1] to keypoints (N, 2) in whole pixels, scores (N,), unit descriptors (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = _UNet((16, 32, 64, 64, 64), (64, 64, 64, DIM + 1))

    def forward(self, image: Tensor, max_keypoints: int, radius: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keypoints are peaks within ``radius`` pixels with a positive score, strongest first."""
        height, width = image.shape[-2:]
        features = self.unet(F.pad(image, (0, _padding(width), 0, _padding(height))))
        weight, bias = self.unet.last_layer
        scores = F.conv2d(features, weight[DIM:], bias[DIM:], padding=_MARGIN)[0, 0, :height, :width]
        rows, columns = _peaks(scores, max_keypoints, radius)
        descriptors = _convolve_at(features, weight[:DIM], rows, columns) + bias[:DIM]
        pixels = torch.stack((columns, rows), dim=1).float()
        return pixels, scores[rows, columns], F.normalize(descriptors, dim=1)


class _UNet(nn.Module):
    def __init__(self, down: tuple[int, ...], up: tuple[int, ...]) -> None:
        super().__init__()
        first = nn.Sequential(nn.Identity(), nn.Sequential(*[nn.Identity()] * 3, _convolution(3, down[0])))
        deeper = [nn.Sequential(nn.AvgPool2d(2), _gated(before, after)) for before, after in pairwise(down)]
        self.path_down = nn.ModuleList([first, *deeper])
        below = (down[-1], *up[:-1])
        sizes = zip(below, reversed(down[:-1]), up, strict=True)
        self.path_up = nn.ModuleList(_Up(bottom + beside, after) for bottom, beside, after in sizes)

    @property
    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution that ``forward`` leaves to its caller."""
        block = self.path_up[-1]
        return block.get_parameter("conv.3.weight"), block.get_parameter("conv.3.bias")

    def forward(self, image: Tensor) -> Tensor:
        """Input of the last convolution at full resolution."""
        levels = [image]
        for block in self.path_down:
            levels.append(block(levels[-1]))
        bottom = levels.pop()
        for step, block in enumerate(self.path_up):
            bottom = block(bottom, levels.pop(), convolve=step < len(self.path_up) - 1)
        return bottom


class _Up(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = _gated(channels_in, channels_out)

    def forward(self, bottom: Tensor, beside: Tensor, convolve: bool) -> Tensor:
        enlarged = F.interpolate(bottom, scale_factor=2, mode="bilinear", align_corners=False)
        joined = torch.cat((enlarged, beside), dim=1)
        output: Tensor = self.conv(joined) if convolve else self.conv[:-1](joined)
        return output


def _gated(channels_in: int, channels_out: int) -> nn.Sequential:
    """Instance norm, PReLU, (no dropout,) convolution."""
    norm, gate = nn.InstanceNorm2d(channels_in), nn.PReLU(channels_in)
    return nn.Sequential(norm, gate, nn.Identity(), _convolution(channels_in, channels_out))


def _padding(length: int) -> int:
    """Pixels that make a side a multiple of the stride, and two strides at least: norms need more than one value."""
    return max(-length % STRIDE, 2 * STRIDE - length)


def _convolution(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, _KERNEL, padding=_MARGIN)


def _convolve_at(features: Tensor, weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A convolution (D, C, 5, 5) of features (1, C, H, W), evaluated at some pixels only: (N, D)."""
    padded = F.pad(features[0], (_MARGIN,) * 4)
    steps = torch.arange(_KERNEL, device=features.device)
    patches = padded[:, (rows[:, None] + steps)[:, :, None], (columns[:, None] + steps)[:, None, :]]
    return patches.transpose(0, 1).flatten(1) @ weight.flatten(1).T


def _peaks(scores: Tensor, max_keypoints: int, radius: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of positive maxima whose whole neighbourhood lies in the image, strongest first."""
    inner = (slice(radius, scores.shape[0] - radius), slice(radius, scores.shape[1] - radius))
    is_peak = ((scores == _window_max(scores, radius)) & (scores > 0.0))[inner]
    rows, columns = torch.where(is_peak)
    order = scores[inner][rows, columns].argsort(descending=True, stable=True)[:max_keypoints]
    return rows[order] + radius, columns[order] + radius


def _window_max(values: Tensor, radius: int) -> Tensor:
    """Largest value within ``radius`` rows and columns of every pixel; OpenCV is many times faster on a CPU."""
    size = 2 * radius + 1
    if values.device.type == "cpu":
        return torch.from_numpy(cv2.dilate(values.numpy(), np.ones((size, size), np.uint8)))
    return F.max_pool2d(values[None, None], size, stride=1, padding=radius)[0, 0]


_WEIGHTS = ("depth-save", "disk-depth-save")


class DiskExtractor(OneByOne):
    """Finds DISK features with the weights trained on depth; they are read once, here."""

    descriptor_dim = DIM

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self._device = pick_device(config.device, config.torch_threads)
        network = DiskNetwork()
        sha256 = load_weights(network, find_weights(config.weights, _WEIGHTS), entry="extractor")
        self.network = network.eval().requires_grad_(False).to(self._device)
        self.info = ModelInfo("disk", "Apache-2.0", sha256)

    @torch.inference_mode()
    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB, strongest first."""
        config = self._config
        reduced = reduce_image(image, config.resize_max)
        outputs = self.network(as_tensor(as_rgb(reduced), self._device), config.max_keypoints, config.nms_radius)
        pixels, scores, descriptors = (output.cpu().numpy() for output in outputs)
        keypoints = colmap_from_network(pixels, pixel_scale(image, reduced))
        return LocalFeatures(keypoints, scores, descriptors, (image.shape[1], image.shape[0]))
