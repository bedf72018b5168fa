"""The programs of FUSELOC by their names and options: a data set searched by fused descriptors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_field.command_benchmark import run_benchmark
from visloc_field.protocol import BenchmarkConfig
from visloc_ros.core.config import nest
from visloc_ros.core.errors import ConfigError
from visloc_ros.features import make_extractor
from visloc_ros.features.config import FeatureConfig

# By their names: what stands for a model here, and lengths of descriptors of images.
_LOCAL = {"d2net": "hloc:d2net-ss", "r2d2": "hloc:r2d2"}
_MATCHED_BY_NETWORK = ("superpoint", "disk")  # to map a scene; others by nearest neighbours, which need no weights
_GLOBAL_LENGTHS = {"salad": 8448, "megaloc": 8448, "netvlad": 4096, "openibl": 4096, "eigenplaces": 2048}
_USUAL_LENGTH = 8448


def _program(name: str) -> Callable[..., None]:
    """The program of a data set, by its name here."""

    def program(
        dataset: Annotated[Path, typer.Option(help="Folder of the data set, unpacked.")],
        local_desc: Annotated[str, typer.Option("--local_desc", help="Model of local features.")] = "",
        local_desc_dim: Annotated[int, typer.Option("--local_desc_dim", min=0, help="Their length.")] = 0,
        global_desc: Annotated[str, typer.Option("--global_desc", help="Model of images.")] = "",
        global_desc_dim: Annotated[int, typer.Option("--global_desc_dim", min=0, help="Its length.")] = 0,
        use_global: Annotated[int, typer.Option("--use_global", min=0, max=1, help="Fuse descriptors.")] = 1,
        convert: Annotated[int, typer.Option("--convert", min=0, max=1, help="Take those of map images.")] = 1,
        lambda_val: Annotated[
            float, typer.Option("--lambda_val", min=0.0, max=1.0, help="Weight of a keypoint; 0: the default.")
        ] = 0.0,
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for maps and results.")] = Path(
            f"out/fuseloc_{name}"
        ),
    ) -> None:
        """Search a data set by fused descriptors, as visloc benchmark NAME DATA --search fused does."""
        options: dict[str, Any] = {"fused.convert": bool(convert)}
        local_length = _choose_local(options, local_desc, local_desc_dim)
        global_length = _choose_global(options, global_desc, global_desc_dim)
        if not use_global:
            options["fused.rho"] = 0.0
        elif lambda_val:
            options["fused.rho"] = ratio_of(lambda_val, local_length, global_length)
        run_benchmark(name, dataset, output, ["fused"], BenchmarkConfig.from_mapping(nest(options)))

    return program


main_aachen, main_robotcar, main_cmu, main_cambridge = map(_program, ("aachen", "robotcar", "cmu", "cambridge"))


def ratio_of(local_weight: float, local_length: int, global_length: int) -> float:
    """Our weight ``rho`` for FUSELOC's ``lambda_val``.

    FUSELOC keeps some numbers of a descriptor of unit length, which then has the length sqrt(D / G); here it gets unit
    length again.
    """
    return (1.0 - local_weight) / local_weight * math.sqrt(min(1.0, local_length / global_length))


def _choose_local(options: dict[str, Any], name: str, length: int) -> int:
    """Set the local features, and give the length of their descriptors. Raises ConfigError where it is another."""
    features = FeatureConfig(name=_LOCAL.get(name, name)) if name else FeatureConfig()
    if name:
        options |= {f"{part}.features.name": features.name for part in ("mapping", "anchor", "fused")}
        if features.name not in _MATCHED_BY_NETWORK:
            options |= {f"{part}.matcher.name": "nearest" for part in ("mapping", "anchor")}
    actual = make_extractor(features).descriptor_dim
    if length not in (0, actual):
        raise ConfigError(f"descriptors of '{features.name}' have the length {actual}: leave --local_desc_dim out")
    return actual


def _choose_global(options: dict[str, Any], name: str, length: int) -> int:
    """Set the descriptor of images, and give its length. Raises ConfigError where it is another."""
    if name:
        options["mapping.global_descriptor.name"] = name
    actual = _GLOBAL_LENGTHS.get(name, length or _USUAL_LENGTH)
    if length not in (0, actual):
        raise ConfigError(f"descriptors of '{name}' have the length {actual}: leave --global_desc_dim out")
    return actual
