"""Programs for users: the command line, the demo, processes of nodes, replays."""

from visloc_ros.apps.command_types import Alias, Command, PluginCommands

__all__ = ["Alias", "Command", "PluginCommands"]
