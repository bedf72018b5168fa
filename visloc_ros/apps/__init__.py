"""Programs for users: the command line, the demo, processes of nodes, replays."""

from visloc_ros.apps.aliases import Alias, PluginCommands

__all__ = ["Alias", "PluginCommands"]
