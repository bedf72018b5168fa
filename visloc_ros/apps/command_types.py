"""What the list of commands is made of, and what plug-ins add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from visloc_ros.core.plugins import installed_plugins


class Command(NamedTuple):
    """A command: its module, function or group of commands in it, and the line that lists it.

    A module without a dot is one of ``visloc_ros.apps``. One that is lasting runs until it is stopped: it shows every
    warning.
    """

    module: str
    function: str
    line: str = ""
    is_lasting: bool = False


@dataclass(frozen=True)
class Alias:
    """The command that an alias stands for, of a group 'GROUP COMMAND', and options that differ from its defaults."""

    command: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def in_list(self) -> str:
        """The command, or the group of commands, that the list has."""
        return self.command.partition(" ")[0]


@dataclass(frozen=True)
class PluginCommands:
    """What a plug-in adds to the command line; an entry point of the group ``visloc.commands`` names such an object.

    A command 'GROUP COMMAND' becomes one of that group of ours. ``hidden`` are commands that the help does not list:
    programs of other tools.
    """

    commands: Mapping[str, Command] = field(default_factory=dict)
    hidden: Mapping[str, Command] = field(default_factory=dict)
    aliases: Mapping[str, Alias] = field(default_factory=dict)


def plugin_commands() -> list[PluginCommands]:
    """What the installed plug-ins add."""
    return list(installed_plugins("visloc.commands").values())
