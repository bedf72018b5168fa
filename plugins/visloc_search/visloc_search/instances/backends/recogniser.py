"""A trained network as an ``InstanceRecogniser``, and its file."""

from __future__ import annotations

import io
import pickle

import cv2
import numpy as np
import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.core.types import Image
from visloc_search.instances.backends.network import InstanceNetwork
from visloc_search.instances.recognition import Recognition
from visloc_search.instances.samples import INPUT_SIZE, STRIDE

_MAX_REASON = 160
REMEDY = ": run 'visloc prepare MAP --for instances' again"


class NetworkRecogniser:
    """Recognises instances by a network, on the device that it is on."""

    def __init__(self, network: InstanceNetwork) -> None:
        self.network = network

    @torch.inference_mode()
    def recognise(self, image: Image) -> Recognition:
        """Recognise the instances in an upright image, (H, W) grey or (H, W, 3) RGB."""
        device = next(self.network.parameters()).device
        inputs = torch.from_numpy(input_of(image)).to(device).permute(2, 0, 1)[None].float() / 255.0
        logits, _, descriptors = self.network.eval()(inputs)
        return Recognition.of(logits[0].softmax(0).cpu().numpy(), descriptors[0].cpu().numpy())


def input_of(image: Image) -> Image:
    """An image (H, W, 3) as large as those of the training, with the sides of the given one's proportion."""
    height, width = image.shape[:2]
    scale = np.sqrt(INPUT_SIZE[0] * INPUT_SIZE[1] / (width * height))
    size = [max(round(side * scale / STRIDE), 1) * STRIDE for side in (width, height)]
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return np.asarray(np.repeat(small[..., None], 3, axis=2) if small.ndim == 2 else small, np.uint8)


def network_bytes(network: InstanceNetwork) -> bytes:
    """The weights in half precision, as a file."""
    state = {
        name: value.detach().cpu().half() if value.is_floating_point() else value.cpu()
        for name, value in network.state_dict().items()
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load_network(content: bytes, num_classes: int) -> InstanceNetwork:
    """Read a network of so many classes. Raises ModelError where it is damaged, or another one."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        network = InstanceNetwork(num_classes)
        network.load_state_dict(state)
    except (OSError, RuntimeError, EOFError, AttributeError, TypeError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise ModelError(f"the recogniser of instances does not hold the weights: {reason}{REMEDY}") from error
    return network.eval().requires_grad_(False)
