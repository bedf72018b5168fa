"""The search by instances as the package finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import Map
from visloc_ros.core.progress import Progress
from visloc_ros.features.registry import make_global_descriptor
from visloc_ros.features.types import Matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.strategy import NOTHING_ELSE, Examples, OpenedMaps, PreparedMap, SearchStrategy
from visloc_search.instances.config import INSTANCES, InstanceConfig


class InstanceStrategy(SearchStrategy):
    """Matches the map images that show the instances which a network recognises."""

    name, preparation = INSTANCES, InstanceConfig

    def open(self, maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> OpenedMaps:
        """Make a searcher of each map; a network that describes images for the fall-back is loaded once."""
        from visloc_ros.localization.retrieval.global_index import global_index
        from visloc_search.instances.opening import open_instances
        from visloc_search.instances.searcher import InstanceSearcher

        make_once = cache(make_global_descriptor)
        return OpenedMaps(
            [
                InstanceSearcher(
                    map_,
                    *open_instances(map_, config.features.device),
                    global_index(map_, config.global_descriptor, make_once),
                    config,
                    matcher,
                )
                for map_ in maps
            ]
        )

    def prepare(
        self, maps: Sequence[Path], options: InstanceConfig, progress: Progress, examples: Examples = NOTHING_ELSE
    ) -> list[PreparedMap]:
        """Write instances into maps, with a network for each that recognises them."""
        from visloc_search.instances.preparation import prepare_instances

        if examples.frames is not None or examples.texts is not None:
            raise ConfigError(
                f"the search by '{INSTANCES}' learns from the maps' own images: leave --source and --texts out"
            )
        figures = [prepare_instances(path, options, progress, examples) for path in maps]
        return [
            PreparedMap(
                path,
                one,
                f"{one['instances']} instances over {one['coverage_percent']:.0f} % of the images; the recogniser "
                f"knows {one['held_out_percent']:.0f} % of the points in held-out images",
            )
            for path, one in zip(maps, figures, strict=True)
        ]

    def labelled_map(self, map_: Map) -> Map:
        """The map, whose points have the labels of their instances."""
        from visloc_search.instances.instance_files import load_instances

        return replace(map_, point_labels=load_instances(map_, map_.prepared[INSTANCES])[0].point_labels)


INSTANCE_SEARCH = InstanceStrategy()
