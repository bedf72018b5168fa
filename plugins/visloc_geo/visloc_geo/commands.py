"""The group of commands ``visloc geo``, and the programs of other tools by their names."""

from visloc_ros.apps import Alias, Command, PluginCommands

_STREET_VIEW = {"provider": "gsv"}  # whose terms the user accepts by an option

COMMANDS = PluginCommands(
    commands={
        "geo": Command(
            "visloc_geo.apps.command_geo",
            "app",
            "Find where on the earth photos were taken, by geotagged street views.",
        ),
    },
    aliases={
        "preview": Alias("geo preview"),
        "metadata": Alias("geo metadata", _STREET_VIEW),
        "postview": Alias("geo postview"),
        "elevation": Alias("geo elevation"),
        "panoramas": Alias("geo panoramas", _STREET_VIEW),
        "run-experiments": Alias("geo experiment"),
        "generate-global-descriptors": Alias("geo global-descriptors"),
        "generate-local-descriptors": Alias("geo local-descriptors"),
    },
)
