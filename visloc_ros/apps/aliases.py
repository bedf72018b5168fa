"""Commands by the names of other tools' programs: hidden, and listed in docs/commands.md."""

from __future__ import annotations

from collections import ChainMap

from visloc_ros.apps.command_types import Alias, plugin_commands

REFERENCE_MAPS = "data/hloc_reference"
"""Where those tools keep a folder for each scene, with a map packed as ``reference.tar.gz`` in it."""

VIDEO = ("--video", "--video-path")
BENCHMARK, BY_VIDEO = "benchmark", "benchmark-localize"
"""Our command for data sets, and another tool's program of the same name, which takes a video."""


ALIASES = {
    "app": Alias("build-map", {"output": f"{REFERENCE_MAPS}/{{name}}", "archive": True}),
    "run-batch": Alias("batch", {"folder": "data", "output": REFERENCE_MAPS}),
    "debug-localize": Alias("localize"),
    "visualize-poses": Alias("localize", {"output": "out/visualize_poses"}),
    BY_VIDEO: Alias("localize", {"timings": True, "fps": 2.0, "max_frames": 10}),
    "plot-trajectory": Alias("plot", {"output": "trajectory.png"}),
    "view-trajectory": Alias("view"),
    "viewer": Alias("view", {"live": "0"}),
}


def told_apart(words: list[str]) -> list[str]:
    """A command line with the name of the command that its options belong to."""
    has_video = any(word.partition("=")[0] in VIDEO for word in words)
    return [BY_VIDEO, *words[1:]] if has_video and words[:1] == [BENCHMARK] else words


def all_aliases() -> dict[str, Alias]:
    """Aliases by name, those that plug-ins add among them."""
    return dict(ChainMap(*(dict(one.aliases) for one in plugin_commands()), ALIASES))


def find_alias(name: str) -> Alias:
    """The command for a name, with underscores or hyphens."""
    name = name.replace("_", "-")
    return all_aliases().get(name, Alias(name))
