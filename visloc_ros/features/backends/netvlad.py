"""NetVLAD (Arandjelovic et al., CVPR 2016), reading the authors' MATLAB weights where hloc keeps them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.io import loadmat
from torch import Tensor, nn

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.weights import as_tensor, hub_folder, pick_device
from visloc_ros.features.config import GlobalConfig
from visloc_ros.features.images import as_rgb, reduce_image
from visloc_ros.features.types import ModelInfo

_FILE = Path("netvlad", "VGG16-NetVLAD-Pitts30K.mat")
_VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
_POOLING_LAYER, _WHITENING_LAYER = 30, 33
_WORDS, _OUTPUT_DIM = 64, 4096
_RESIZE_MAX = 1024


class NetVladDescriptor:
    """Describes images with NetVLAD and its whitening; the weights are read once, here."""

    def __init__(self, config: GlobalConfig) -> None:
        path = Path(config.weights).expanduser() if config.weights else hub_folder() / _FILE
        if not path.is_file():
            raise ModelError(f"no weights {path}: run 'visloc fetch-weights netvlad' where there is a network")
        self._device = pick_device(config.device)
        self._longest = config.resize_max or _RESIZE_MAX
        self.network = NetVladNetwork()
        self.network.load_matlab(path)
        self.network.eval().requires_grad_(False).to(self._device)
        self.info = ModelInfo("netvlad", "MIT", hashlib.sha256(path.read_bytes()).hexdigest())

    @torch.inference_mode()
    def describe(self, image: Image, features: LocalFeatures) -> NDArray[np.float32]:
        """Unit vector (4096,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        planes = as_tensor(as_rgb(reduce_image(image, self._longest)), self._device)
        vector: NDArray[np.float32] = self.network(planes)[0].cpu().numpy()
        return vector


class NetVladNetwork(nn.Module):
    """Image (1, 3, H, W) in [0, 1] to a unit vector (1, 4096)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*_trunk_layers())
        channels = _VGG16[-1]
        self.assignment = nn.Conv2d(channels, _WORDS, 1, bias=False)
        self.centres = nn.Parameter(torch.empty(channels, _WORDS))
        self.whitening = nn.Linear(channels * _WORDS, _OUTPUT_DIM)
        self.mean = nn.Parameter(torch.empty(3, 1, 1))

    def load_matlab(self, path: Path) -> None:
        """Read the layers of the exported MATLAB network. Raises ModelError when the file is another one."""
        try:
            net = loadmat(path, struct_as_record=False, squeeze_me=True)["net"]
            for module, layer in zip(self.trunk, net.layers, strict=False):
                if isinstance(module, nn.Conv2d):
                    _fill(module.weight, layer.weights[0].transpose(3, 2, 0, 1))
                    _fill(module.bias, layer.weights[1])
            self._load_pooling(net.layers[_POOLING_LAYER].weights, net.layers[_WHITENING_LAYER].weights)
            _fill(self.mean, net.meta.normalization.averageImage[0, 0].reshape(3, 1, 1))
        except (OSError, KeyError, AttributeError, IndexError, TypeError, ValueError) as error:
            raise ModelError(f"{path} does not hold the weights of NetVLAD: {error}") from error

    def _load_pooling(self, pooling: NDArray[Any], whitening: NDArray[Any]) -> None:
        """The file has the centres with the opposite sign."""
        _fill(self.assignment.weight, pooling[0].T[:, :, None, None])
        _fill(self.centres, -pooling[1])
        _fill(self.whitening.weight, whitening[0].squeeze().T)
        _fill(self.whitening.bias, whitening[1].squeeze())

    def forward(self, image: Tensor) -> Tensor:
        """Residuals to the visual words, softly assigned, normalised per word and together, whitened."""
        local = F.normalize(self.trunk(image * 255.0 - self.mean), dim=1)
        shares = torch.softmax(self.assignment(local), dim=1).flatten(2)
        weighted = local.flatten(2) @ shares.transpose(1, 2)
        residuals = F.normalize(weighted - self.centres * shares.sum(dim=2)[:, None], dim=1)
        return F.normalize(self.whitening(F.normalize(residuals.flatten(1), dim=1)), dim=1)


def _trunk_layers() -> list[nn.Module]:
    """VGG-16 up to its last convolution; 0 stands for pooling."""
    layers: list[nn.Module] = []
    channels_in = 3
    for channels in _VGG16:
        if channels == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels_in, channels, 3, padding=1), nn.ReLU()]
        channels_in = channels
    return layers[:-1]


def _fill(parameter: nn.Parameter | Tensor | None, values: NDArray[Any]) -> None:
    """Set a parameter from an array of exactly its shape."""
    assert parameter is not None
    if tuple(parameter.shape) != values.shape:
        raise ValueError(f"an array is {values.shape} instead of {tuple(parameter.shape)}")
    parameter.data = torch.from_numpy(np.ascontiguousarray(values, np.float32))
