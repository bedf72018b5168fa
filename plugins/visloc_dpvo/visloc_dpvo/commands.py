"""Programs of other tools that run this odometry, by their names."""

from visloc_ros.apps import Alias, PluginCommands

COMMANDS = PluginCommands(
    aliases={
        "dpvo-app": Alias("run", {"output": "out/dpvo_app", "backend": "dpvo"}),
        "benchmark-dpvo": Alias("track", {"timings": True, "backend": "dpvo", "fps": 15.0, "max_frames": 100}),
    }
)
