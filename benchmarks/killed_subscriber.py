"""Whether images go on reaching a subscriber after another one was killed, with and without the profile for Fast DDS.

In each trial two processes subscribe to images of 130 to 150 kB at 30 Hz, one of them is killed, and the images that
the other one receives in the last three seconds are counted; below half of them is a stall.

Run: python -m benchmarks.killed_subscriber --trials 20
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from argparse import SUPPRESS
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import rclpy
from sensor_msgs.msg import CompressedImage

from benchmarks.program import new_parser
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.core.middleware import OWN_CHOICES, fast_dds_profile
from visloc_ros.nodes.qos import IMAGE, RELIABLE

TOPIC, RATE_HZ, IMAGE_BYTES = "/killed_subscriber/image", 30.0, (130_000, 150_000)
BEFORE_S, AFTER_S, COUNTED_S = 2.0, 7.0, 3.0
SUBSCRIBERS = ("reliable", "sensor_data")  # the second one is killed


def main() -> None:
    """Run the trials, or one part of a trial in a process of its own."""
    parser = new_parser(__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--part", choices=("publish", *SUBSCRIBERS), help=SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "publish":
        publish()
    elif arguments.part:
        receive(arguments.part)
    else:
        for name, profile in (("default", {}), ("fastdds_large_images.xml", fast_dds_profile())):
            received = [run_trial(profile) for _ in range(arguments.trials)]
            stalls = sum(count < 0.5 * COUNTED_S * RATE_HZ for count in received)
            print(f"{name}: stalled in {stalls} of {len(received)} trials; images received: {received}", flush=True)


def run_trial(profile: dict[str, str]) -> int:
    """Images received by the survivor at the end."""
    with killed_beside_survivor(profile) as survivor:
        time.sleep(AFTER_S)
        end_s = time.monotonic()
        pipe(survivor.stdin).close()  # ends the moments of arrival
        stamps = [float(line) for line in pipe(survivor.stdout)]
        return sum(end_s - COUNTED_S < stamp for stamp in stamps)


@contextmanager
def killed_beside_survivor(profile: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The survivor, which prints when each image came, from when the other subscriber was killed."""
    inherited = {name: value for name, value in os.environ.items() if name not in OWN_CHOICES}
    environment = inherited | LOOPBACK_ONLY | {"ROS_DOMAIN_ID": str(free_domain_id())} | profile
    survivor, victim, publisher = (start(part, environment) for part in (*SUBSCRIBERS, "publish"))
    try:
        for process in (survivor, victim):
            pipe(process.stdout).readline()  # its first image has come
        time.sleep(BEFORE_S)
        victim.kill()
        yield survivor
    finally:
        for process in (survivor, victim, publisher):
            process.kill()
            process.wait()


def pipe(end: IO[str] | None) -> IO[str]:
    """The end of a pipe to a process that ``start`` has started."""
    if end is None:
        raise ValueError("the process was started without this pipe")
    return end


def start(part: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    """One process of a trial."""
    command = [sys.executable, "-m", "benchmarks.killed_subscriber", "--part", part]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def publish() -> None:
    """Publish images of varying size, as a camera's JPEG are."""
    rclpy.init()
    publisher = rclpy.create_node("camera").create_publisher(CompressedImage, TOPIC, RELIABLE)
    while True:
        publisher.publish(CompressedImage(format="jpeg", data=array("B", bytes(random.randint(*IMAGE_BYTES)))))
        time.sleep(1.0 / RATE_HZ)


def receive(qos: str) -> None:
    """Print when each image came, until the standard input ends."""
    rclpy.init()
    node = rclpy.create_node(qos)
    node.create_subscription(CompressedImage, TOPIC, lambda _: print(time.monotonic(), flush=True), IMAGE[qos])
    threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
