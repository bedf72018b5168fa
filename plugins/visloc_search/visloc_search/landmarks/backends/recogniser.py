"""A trained network as a ``Recogniser``, and its files."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.backends.weights import pick_device, pick_dtype
from visloc_search.landmarks.backends.recogniser_network import NetworkShape, RecogniserNetwork
from visloc_search.landmarks.recogniser import (
    REMEDY,
    WEIGHTS_NAME,
    RecogniserInfo,
    read_recogniser,
    write_recogniser,
)
from visloc_search.landmarks.tokens import Float32, normalise_positions, unit_descriptors

_MAX_REASON = 160
_HALF_BYTES = 2


class TransformerRecogniser:
    """Recognises landmarks by a network; half precision where the device multiplies it natively."""

    def __init__(self, network: RecogniserNetwork, info: RecogniserInfo, device: str = "auto") -> None:
        self.info = info
        self.device = pick_device(device)
        dtype = pick_dtype("auto", self.device)
        self.network = network.eval().requires_grad_(False).to(self.device, dtype)
        self.network.frequencies.float()  # a position is known to a pixel, which is finer than half precision
        self._dtype = dtype

    @staticmethod
    def load(files: Mapping[str, bytes], extractor: str, device: str = "auto") -> TransformerRecogniser:
        """Read a recogniser for the named extractor's features.

        Raises ModelError when a file is missing, damaged, of another schema or shape, or for other features.
        """
        weights, info = read_recogniser(files, extractor)
        try:
            state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
            network = _network_of(NetworkShape(**info.shape), len(weights))
            network.load_state_dict({name: value.float() for name, value in state.items()})
        except (OSError, RuntimeError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:_MAX_REASON]
            raise ModelError(f"{WEIGHTS_NAME} does not hold the weights: {reason}{REMEDY}") from error
        return TransformerRecogniser(network, info, device)

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return self.network.shape.num_classes

    @property
    def background_threshold(self) -> float:
        """Probability of background above which a token need not be matched, from held-out images."""
        return self.info.background_threshold

    @torch.inference_mode()
    def recognise(self, features: LocalFeatures) -> Float32:
        """Probabilities (N, C) of the classes of an image's keypoints. Raises ModelError for unlike descriptors."""
        if not len(features):
            return np.zeros((0, self.num_classes), np.float32)
        if features.descriptors.shape[1] != self.network.shape.in_dim:
            raise ModelError(
                f"the recogniser takes descriptors of length {self.network.shape.in_dim}, not "
                f"{features.descriptors.shape[1]}: the features come from another extractor"
            )
        positions = normalise_positions(features.keypoints, features.image_size)
        descriptors = self._to_device(unit_descriptors(features)).to(self._dtype)
        logits = self.network(descriptors, self._to_device(positions))[0]
        return np.asarray(logits.float().softmax(-1).cpu().numpy())

    def _to_device(self, array: Float32) -> Tensor:
        return torch.from_numpy(array).to(self.device)[None]


def _network_of(shape: NetworkShape, file_bytes: int) -> RecogniserNetwork:
    """A network to load a file into; a shape that cannot fit the file raises RuntimeError before any allocation."""
    if _HALF_BYTES * shape.least_weights > file_bytes:
        raise RuntimeError(f"{file_bytes} bytes are too few for the shape that it should have")
    return RecogniserNetwork(shape)


def save_recogniser(folder: Path, network: RecogniserNetwork, info: RecogniserInfo) -> int:
    """Write a network's weights in half precision, with ``info``; gives the bytes of both files. Raises OutputError."""
    state = {name: value.detach().cpu().half() for name, value in network.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return write_recogniser(folder, buffer.getvalue(), info)


def shape_of(network: RecogniserNetwork) -> dict[str, int]:
    """The widths of a network, for its ``RecogniserInfo``."""
    return asdict(network.shape)
