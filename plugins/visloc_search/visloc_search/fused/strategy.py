"""The search by fused descriptors as the package finds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from visloc_ros.core.errors import ConfigError, ManifestError
from visloc_ros.core.map import Map
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.progress import Progress
from visloc_ros.features.config import AUTO, GlobalConfig
from visloc_ros.features.registry import make_global_descriptor
from visloc_ros.features.types import GlobalDescriptor, Matcher
from visloc_ros.features.vlad import Vlad
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.models import check_weights
from visloc_ros.localization.retrieval.global_index import MakeDescriptor
from visloc_ros.localization.strategy import NOTHING_ELSE, Examples, OpenedMaps, PreparedMap, SearchStrategy
from visloc_search.fused.config import FUSED, FusedConfig
from visloc_search.fused.fused_files import AGAIN, WHAT, load_fused_map
from visloc_search.fused.fused_map import FusedMap
from visloc_search.reduced_map.provenance import prepared_files


class FusedStrategy(SearchStrategy):
    """Keypoints are matched with the points of the whole map at once."""

    name, preparation = FUSED, FusedConfig

    def open(self, maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> OpenedMaps:
        """Make a searcher of each map; a network that describes images is loaded once."""
        from visloc_search.fused.searcher import FusedSearcher

        make_once = cache(make_global_descriptor)
        opened = [open_fused(map_, config.global_descriptor, make_once) for map_ in maps]
        return OpenedMaps([FusedSearcher(*one, config, matcher) for one in opened])

    def prepare(
        self, maps: Sequence[Path], options: FusedConfig, progress: Progress, examples: Examples = NOTHING_ELSE
    ) -> list[PreparedMap]:
        """Write fused descriptors into maps; frames are those that a single map was built from."""
        from visloc_search.fused.preparation import prepare_fused

        if examples.elsewhere or examples.texts is not None:
            raise ConfigError(
                f"the search by '{FUSED}' learns nothing from other places or texts: leave --elsewhere and --texts out"
            )
        if examples.frames is not None and len(maps) > 1:
            raise ConfigError("frames are of one place: prepare its map alone with them")
        figures = [prepare_fused(path, options, progress, examples.frames) for path in maps]
        return [PreparedMap(path, one, _words(one)) for path, one in zip(maps, figures, strict=True)]

    def prepared_map(self, map_: Map) -> Map:
        """Points with a descriptor, and the frames that show them."""
        return load_fused_map(map_.prepared[FUSED], map_.manifest).map


def _words(figures: Mapping[str, Any]) -> str:
    from visloc_search.fused.preparation import memory_words

    points = f"{figures['points']} points ({figures['points_percent']:.1f} %), rho {figures['rho']:g}"
    return f"{points}, {memory_words(figures['memory'])}"


FUSED_SEARCH = FusedStrategy()


def open_fused(map_: Map, config: GlobalConfig, make: MakeDescriptor) -> tuple[FusedMap, GlobalDescriptor]:
    """The fused map of a map, and the describer of whole images that it was made with; ``make`` loads a network.

    Raises MapError where the map was not prepared, or the prepared files are broken, of another version of it or of
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
