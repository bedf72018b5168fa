"""The commands of this plug-in."""

from visloc_ros.apps import Command, PluginCommands

COMMANDS = PluginCommands(
    commands={
        "instances": Command(
            "visloc_search.command_instances",
            "instances",
            "Recognise the instances of a map in images: a mask, a picture, confidences, and arrays of each image.",
        ),
    }
)
