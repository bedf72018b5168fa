"""Plays a recorded drive to the nodes by ros2 bag; they run on its time.

Takes the arguments of visloc.launch.py, too. "visloc run" and "visloc replay" evaluate a recording without launch.
"""

from launch.actions import ExecuteProcess

from visloc_ros.nodes.launching import Argument, describe, include, switch

CLOCK_HZ = 100  # finer than any camera's frames
ARGUMENTS = {
    "bag": Argument(None, "Bag to play"),
    "rate": Argument("1.0", "Speed of the replay"),
    "loop": switch(False, "Whether to play the bag over and over"),
    "delay": Argument("10.0", "Seconds before it plays, while the nodes load map and models"),
}


def start(given):
    """The nodes, and the player."""
    play = ["ros2", "bag", "play", given["bag"], "--rate", given["rate"], "--delay", given["delay"]]
    loop = ["--loop"] if given["loop"] else []
    return [
        include("visloc.launch.py", use_sim_time="true"),
        ExecuteProcess(cmd=[*play, "--clock", str(CLOCK_HZ), *loop], output="screen"),
    ]


def generate_launch_description():
    """Declare the arguments and start everything."""
    return describe(ARGUMENTS, start)
