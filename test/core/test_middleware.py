"""The profile for Fast DDS is read, and gives a process room for images."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from visloc_ros.core.middleware import OWN_CHOICES, fast_dds_profile

SHARED_BYTES = """
import rclpy
rclpy.init()
node = rclpy.create_node("mapped")
sizes = [0]
for line in open("/proc/self/maps"):
    if "/dev/shm/fastrtps_" in line:
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        sizes.append(end - begin)
print("largest", max(sizes))
"""

MEMORY_AFTER_LARGE_MESSAGES = """
import psutil
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node("receiver")
received = []
node.create_subscription(String, "text", lambda message: received.append(len(message.data)), 50)
publisher = node.create_publisher(String, "text", 50)
def exchange(size, count):
    del received[:]
    for _ in range(count):
        publisher.publish(String(data="x" * size))
    while len(received) < count:
        rclpy.spin_once(node, timeout_sec=0.1)
while publisher.get_subscription_count() == 0:
    rclpy.spin_once(node, timeout_sec=0.1)
exchange(1000, 50)
before = psutil.Process().memory_full_info().uss
exchange(1_000_000, 50)
exchange(1000, 50)
print("kept", (psutil.Process().memory_full_info().uss - before) / 1e6)
"""


def largest_shared_memory(**environment: str) -> tuple[int, str]:
    """Bytes of the largest shared memory of a process with one node, and all that it printed."""
    options = {"env": {**os.environ, **environment}, "capture_output": True, "text": True, "timeout": 60}
    answer = subprocess.run([sys.executable, "-c", SHARED_BYTES], **options)
    return int(number_after("largest", answer.stdout)), answer.stdout + answer.stderr


def kept_memory_mb(**environment: str) -> float:
    """What a process has more after 50 messages of 1 MB than before."""
    options = {"env": {**os.environ, **environment}, "capture_output": True, "text": True, "timeout": 60}
    answer = subprocess.run([sys.executable, "-c", MEMORY_AFTER_LARGE_MESSAGES], **options)
    return float(number_after("kept", answer.stdout))


def number_after(word: str, printed: str) -> str:
    """The number that follows a word: the middleware prints lines before it and after it."""
    return printed.split(word)[1].split()[0]


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for name in OWN_CHOICES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", OWN_CHOICES)
def test_what_the_user_has_chosen_stays(monkeypatch, name):
    monkeypatch.setenv(name, "something")
    assert fast_dds_profile() == {}


def test_the_profile_enlarges_the_shared_memory(ros_domain):
    plain, _ = largest_shared_memory()
    large, printed = largest_shared_memory(**fast_dds_profile())
    if not plain:
        pytest.skip("this middleware is not Fast DDS with shared memory")
    assert plain < 1_000_000
    assert large >= 32 * 1024**2
    assert "XMLPARSER" not in printed


def test_with_the_profile_large_messages_leave_no_memory_behind(ros_domain):
    plain, with_profile = kept_memory_mb(), kept_memory_mb(**fast_dds_profile())
    if plain < 25:
        pytest.skip("this middleware keeps nothing anyway")
    assert with_profile < plain / 5
