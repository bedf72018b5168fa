"""The commands: where each is, and its line in the list of commands.

The list is here, not with the commands, so that ``visloc --help`` and the completion of words import none of them:
together they take seconds. A test compares each line to the command's own help.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from visloc_ros.apps.command_types import Alias, Command, plugin_commands

COMMANDS = {
    "demo": Command(
        "command_demo",
        "demo",
        "Map a place, replay another pass through the ROS 2 nodes, and report how well the camera was found.",
    ),
    "simulate": Command(
        "command_simulate", "simulate", "Render one pass through the simulated room, with exact poses."
    ),
    "build-map": Command(
        "command_build_map",
        "build_map",
        "Build one map from videos, image folders and ROS 2 bags, or add their images to a map.",
    ),
    "batch": Command(
        "command_batch",
        "batch",
        "Build a map of every recording in a folder; exit code 1 if one failed.",
    ),
    "prepare": Command(
        "command_prepare",
        "prepare",
        "Prepare maps for another way of searching. A training can be interrupted; it then continues where it was.",
    ),
    "align-map": Command(
        "command_align_map",
        "align_map",
        "Move a finished map to another frame, so that poses come in the frame of the floor, the building, the earth.",
    ),
    "update-map": Command(
        "command_update_map",
        "update_map",
        "Update a map by a recording made in it: what is gone leaves the map, what is new joins it.",
    ),
    "maps": Command("command_maps", "app", "List, describe, check, merge, reduce and delete maps."),
    "localize": Command("command_localize", "localize", "Localize frames one by one: a line each, failures too."),
    "compare": Command(
        "command_compare",
        "compare",
        "Compare ways of searching a map: how many images each finds, how exactly, how fast, with how many bytes.",
    ),
    "sweep": Command(
        "command_sweep",
        "sweep",
        "Search a map with each combination of options: how many images are found, how exactly, how fast.",
    ),
    "track": Command("command_track", "track", "Track a camera by visual odometry alone: every frame, unscaled."),
    "run": Command(
        "command_run",
        "run",
        "Give every frame of a video, folder or bag its best pose in the map, without ROS; the same result twice.",
    ),
    "replay": Command("command_replay", "replay", "Play a bag to the real nodes, record their transforms, and report."),
    "plot": Command(
        "command_evaluate",
        "plot",
        "Draw trajectories beside each other: from above with where the camera looks, and over time.",
    ),
    "view": Command(
        "command_view",
        "view",
        "Show a map in the browser, with a trajectory to play, or a camera that is found live; Ctrl-C stops it.",
        is_lasting=True,
    ),
    "evaluate": Command(
        "command_evaluate",
        "evaluate",
        "Compare two trajectories: the figures of evo and of the KITTI and TUM benchmarks, recall, covariances.",
    ),
    "export-hloc": Command(
        "command_hloc",
        "export_hloc_map",
        "Write a map as stock hloc and COLMAP read it, with a README.txt of the calls that localize in it.",
    ),
    "import-hloc": Command(
        "command_hloc",
        "import_hloc_map",
        "Make a map of a folder of stock hloc: where its file names do not name the extractor, or for --metric.",
    ),
    "up": Command(
        "command_up",
        "up",
        "Start odometry with map tracking, anchors, fusion and the map builder, and restart what dies; "
        "Ctrl-C stops them.",
        is_lasting=True,
    ),
    "doctor": Command(
        "command_doctor",
        "doctor",
        "Say what is wrong with this computer, a map, a recording, a camera and a robot's transforms, and what to do.",
    ),
    "fetch-weights": Command(
        "command_fetch",
        "fetch_weights",
        "Download weights of models to torch.hub's folder, where models search them; nothing else downloads them.",
    ),
    "fetch-data": Command(
        "command_fetch",
        "fetch_data_set",
        "Download a public recording with true poses, after printing its size and licence.",
    ),
}
"""By name, in the order of the help page."""


def listed_commands() -> dict[str, Command]:
    """The commands that the help lists: our own, then those of plug-ins."""
    return {name: one for name, one in ChainMap(*_of_plugins(), COMMANDS).items() if " " not in name}


def commands_in(group: str) -> dict[str, Command]:
    """The commands that plug-ins add to a group of ours, by their names in it."""
    added = ChainMap(*_of_plugins()).items()
    return {name.removeprefix(f"{group} "): one for name, one in added if name.startswith(f"{group} ")}


def _of_plugins() -> list[dict[str, Command]]:
    return [dict(one.commands) for one in plugin_commands()]


def all_commands() -> dict[str, Command]:
    """The commands that the help lists, and the hidden ones of plug-ins."""
    return dict(ChainMap(*(dict(one.hidden) for one in plugin_commands()), listed_commands()))


class ListedCommand(TyperCommand):
    """A command by its line in the list, and the means to import it."""

    def __init__(self, name: str, alias: Alias) -> None:
        self.listed = all_commands()[alias.in_list]
        self._group, _, self._below = alias.command.partition(" ")
        self._defaults = dict(alias.defaults)
        super().__init__(name, help=self.listed.line)

    def load(self) -> Any:
        """Import the command, or the group of commands."""
        command = _imported(self.listed)
        for name, added in commands_in(self._group).items():
            command.commands[name] = _imported(added)
            command.commands[name].name = name
        if self._below:
            command = command.commands[self._below]
        command.name, command.context_settings["default_map"] = self.name, self._defaults
        return command


def _imported(listed: Command) -> Any:
    """A command, or a group of commands, by its place."""
    module = listed.module if "." in listed.module else f"visloc_ros.apps.{listed.module}"
    given = getattr(import_module(module), listed.function)
    return typer.main.get_command(given if isinstance(given, typer.Typer) else _alone(given))


def _alone(function: Callable[..., None]) -> typer.Typer:
    program = typer.Typer(add_completion=False)
    program.command()(function)
    return program
