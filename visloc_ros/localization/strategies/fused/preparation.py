"""Prepares maps for the search by fused descriptors: one for each point, and how to make those of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.features.config import GlobalConfig
from visloc_ros.features.registry import make_extractor, make_global_descriptor
from visloc_ros.localization.strategies.fused.config import FUSED, FusedConfig
from visloc_ros.localization.strategies.fused.fused_files import save_fused_map
from visloc_ros.localization.strategies.fused.fused_map import DescribedMap, FusedMap, fuse_map
from visloc_ros.localization.strategies.fused.memory import memory_report
from visloc_ros.localization.strategies.fused.new_features import with_new_features
from visloc_ros.localization.strategies.fused.sweep import as_values, best_of, sweep_rho
from visloc_ros.localization.strategies.retrieval.global_index import MakeDescriptor, global_index
from visloc_ros.sources import FrameSource


@dataclass(frozen=True, eq=False)
class PreparedMap:
    """A map that was prepared: where it is, what was made of it, and ``figures``, what its manifest says of that."""

    path: Path
    fused: FusedMap
    figures: Mapping[str, Any]


def prepare_fused(
    path: Path,
    config: FusedConfig | None = None,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
    make: MakeDescriptor = make_global_descriptor,
) -> PreparedMap:
    """Write fused descriptors into a map.

    With ``frames``, those that the map was built from, local features are extracted again as ``config.features`` says.
    Raises ConfigError for options that do not suit the map, MapError where it cannot be used, OutputError; the map
    stays as it is until all is done.
    """
    config, progress = config or FusedConfig(), progress or SilentProgress()
    whole = open_map(path)
    fused, figures = make_fused(whole, config, progress, frames, make)
    add_prepared(path, FUSED, partial(_write, fused, whole, figures))
    return PreparedMap(path, fused, figures)


def make_fused(
    whole: Map,
    config: FusedConfig,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
    make: MakeDescriptor = make_global_descriptor,
) -> tuple[FusedMap, dict[str, Any]]:
    """What ``prepare_fused`` writes, and its figures."""
    progress, map_ = progress or SilentProgress(), whole
    if frames is not None:
        extractor = make_extractor(config.features)
        map_ = with_new_features(whole, track(progress, "looking at frames", frames, len(frames)), extractor)
    describer, descriptors = global_index(map_, GlobalConfig(), make)
    described = DescribedMap.of(map_, describer, descriptors)
    results = sweep_rho(described, config, progress) if config.sweep else []
    config = replace(config, rho=best_of(results)) if results else config
    fused = fuse_map(described, config)
    return fused, {**_figures(fused, whole), **({"sweep": as_values(results)} if results else {})}


def _figures(fused: FusedMap, whole: Map) -> dict[str, Any]:
    """What there is, in numbers."""
    return {
        "points": len(fused.codebook),
        "points_percent": round(100.0 * len(fused.codebook) / len(whole.points), 2),
        "frames": len(fused.map.images),
        "rho": fused.config.rho,
        "lam": fused.fusion.lam,
        "reduce": fused.fusion.reducer.kind,
        "index": fused.index,
        "global": fused.image_model.info.name,
        "extractor": asdict(fused.extractor),
        "memory": memory_report(fused, whole),
    }


def _write(fused: FusedMap, whole: Map, figures: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    save_fused_map(folder, fused, whole.manifest)
    return figures
