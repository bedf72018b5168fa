"""Commands by the names of other tools' programs: hidden, and listed in docs/commands.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from visloc_ros.core.plugins import installed_plugins

REFERENCE_MAPS = "data/hloc_reference"
"""Where those tools keep a folder for each scene, with a map packed as ``reference.tar.gz`` in it."""


VIDEO = ("--video", "--video-path")
BENCHMARK, BY_VIDEO = "benchmark", "benchmark-localize"
"""Our command for data sets, and another tool's program of the same name, which takes a video."""
_STREET_VIEW = {"provider": "gsv"}  # whose terms the user accepts by an option


@dataclass(frozen=True)
class Alias:
    """The command that an alias stands for, of a group 'GROUP COMMAND', and options that differ from its defaults."""

    command: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_list(self) -> str:
        """The command, or the group of commands, that the list has."""
        return self.command.partition(" ")[0]


ALIASES = {
    "app": Alias("build-map", {"output": f"{REFERENCE_MAPS}/{{name}}", "archive": True}),
    "run-batch": Alias("batch", {"folder": "data", "output": REFERENCE_MAPS}),
    "debug-localize": Alias("localize"),
    "visualize-poses": Alias("localize", {"output": "out/visualize_poses"}),
    BY_VIDEO: Alias("localize", {"timings": True, "fps": 2.0, "max_frames": 10}),
    "plot-trajectory": Alias("plot", {"output": "trajectory.png"}),
    "view-trajectory": Alias("view"),
    "viewer": Alias("view", {"live": "0"}),
    "server": Alias("serve", {"maps": REFERENCE_MAPS}),
    "preview": Alias("geo preview"),
    "metadata": Alias("geo metadata", _STREET_VIEW),
    "postview": Alias("geo postview"),
    "elevation": Alias("geo elevation"),
    "panoramas": Alias("geo panoramas", _STREET_VIEW),
    "run-experiments": Alias("geo experiment"),
    "generate-global-descriptors": Alias("geo global-descriptors"),
    "generate-local-descriptors": Alias("geo local-descriptors"),
}


def told_apart(words: list[str]) -> list[str]:
    """A command line with the name of the command that its options belong to."""
    has_video = any(word.partition("=")[0] in VIDEO for word in words)
    return [BY_VIDEO, *words[1:]] if has_video and words[:1] == [BENCHMARK] else words


@dataclass(frozen=True)
class PluginCommands:
    """What a plug-in adds to the command line; an entry point of the group ``visloc.commands`` names such an object."""

    aliases: Mapping[str, Alias]


def all_aliases() -> dict[str, Alias]:
    """Aliases by name, those that plug-ins add among them."""
    plugins: dict[str, PluginCommands] = installed_plugins("visloc.commands")
    return {name: alias for one in (ALIASES, *(one.aliases for one in plugins.values())) for name, alias in one.items()}


def find_alias(name: str) -> Alias:
    """The command for a name, with underscores or hyphens."""
    name = name.replace("_", "-")
    return all_aliases().get(name, Alias(name))
