"""Builds of maps in parts, which a plug-in adds by an entry point of the group ``visloc_ros.large_maps``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugins import installed_plugins
from visloc_ros.core.progress import Progress
from visloc_ros.execution.engine import Engine
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.recordings import Recording
from visloc_ros.mapping.summary import MapSummary

_GROUP = "visloc_ros.large_maps"


class LargeMapBuild(Protocol):
    """A function that builds one map of recordings in parts."""

    def __call__(
        self,
        recordings: Sequence[Recording],
        output: Path,
        config: MappingConfig | None = None,
        *,
        work: str,
        engine: Engine | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> MapSummary:
        """Build the map; each part is made by a worker of ``engine``.

        Results of parts are kept in ``work``, a folder or an address that all workers reach: a build that was ended
        goes on where it stopped. Raises as ``build_map`` does, OutputError, and what the engine raises.
        """


def find_large_map_build() -> LargeMapBuild:
    """The build in parts that is installed. Raises ConfigError if none is."""
    installed: list[LargeMapBuild] = list(installed_plugins(_GROUP).values())
    if not installed:
        raise ConfigError(
            "a plug-in builds maps in parts (docs/plugins.md), and none is installed: install it, or leave out "
            "--engine, --address and --workers"
        )
    return installed[0]
