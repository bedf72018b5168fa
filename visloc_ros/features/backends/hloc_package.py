"""Configurations and networks of an installed hloc, by the names hloc gives them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.features.backends.offline import make_offline

LICENCE = "as hloc states for it"


def read_conf(name: str, module: str) -> dict[str, Any]:
    """Configuration ``hloc:<conf>`` of ``hloc.<module>``.

    Raises ConfigError that names the known ones, ModelError where hloc itself cannot be imported.
    """
    hloc = make_offline(name, lambda: importlib.import_module(f"hloc.{module}"), "install hloc with its requirements")
    confs: Mapping[str, dict[str, Any]] = hloc.confs
    conf = name.removeprefix(HLOC)
    if conf not in confs:
        raise ConfigError(f"the installed hloc has no configuration '{conf}' in {module}; known: {', '.join(confs)}")
    return deepcopy(confs[conf])


def make_network(name: str, folder: str, conf: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Network of ``hloc.<folder>`` for a configuration, with its weights. Raises ModelError."""

    def make() -> nn.Module:
        package = importlib.import_module(f"hloc.{folder}")
        base_model = importlib.import_module("hloc.utils.base_model")
        network: nn.Module = base_model.dynamic_load(package, conf["model"]["name"])(dict(conf["model"]))
        return network

    advice = "run it once in hloc where there is a network, and copy the folder of torch.hub"
    return make_offline(name, make, advice).eval().requires_grad_(False).to(device)
