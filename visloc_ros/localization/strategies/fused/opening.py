"""What a map holds of fused descriptors, as what searches by them needs it."""

from __future__ import annotations

from dataclasses import replace

from visloc_ros.core.errors import ManifestError
from visloc_ros.core.map import Map
from visloc_ros.core.map_layout import VLAD
from visloc_ros.features.config import AUTO, GlobalConfig
from visloc_ros.features.types import GlobalDescriptor
from visloc_ros.features.vlad import Vlad
from visloc_ros.localization.models import check_weights
from visloc_ros.localization.reduced_map.provenance import prepared_files
from visloc_ros.localization.strategies.fused.config import FUSED
from visloc_ros.localization.strategies.fused.fused_files import AGAIN, WHAT, load_fused_map
from visloc_ros.localization.strategies.fused.fused_map import FusedMap
from visloc_ros.localization.strategies.retrieval.global_index import MakeDescriptor


def open_fused(map_: Map, config: GlobalConfig, make: MakeDescriptor) -> tuple[FusedMap, GlobalDescriptor]:
    """The fused map of a map, and what describes whole images as it was done there; ``make`` loads a network.

    Raises MapError where the map was not prepared, or what was prepared is broken, of another version of it or of
    other models; ModelError where a network cannot be loaded.
    """
    fused = load_fused_map(prepared_files(map_, FUSED, WHAT), map_.manifest)
    return fused, _describer(map_, fused, config, make)


def _describer(map_: Map, fused: FusedMap, config: GlobalConfig, make: MakeDescriptor) -> GlobalDescriptor:
    model = fused.image_model
    if config.name not in (AUTO, model.info.name):
        raise ManifestError(
            f"the {WHAT} of the map '{map_.name}' are those of '{model.info.name}', not of '{config.name}': leave "
            f"global_descriptor.name out{AGAIN.replace(':', ', or')}"
        )
    if model.info.name == VLAD:
        return Vlad(model.vlad_centroids)
    describer = make(replace(config, name=model.info.name))
    check_weights(map_, model.info, describer.info)
    return describer
