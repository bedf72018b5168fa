"""The profile for Fast DDS is read, and gives a process room for images."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from visloc_ros.apps.middleware import OWN_CHOICES, fast_dds_profile

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


def largest_shared_memory(**environment: str) -> tuple[int, str]:
    """Bytes of the largest shared memory of a process with one node, and what it complained of."""
    options = {"env": {**os.environ, **environment}, "capture_output": True, "text": True, "timeout": 60}
    answer = subprocess.run([sys.executable, "-c", SHARED_BYTES], **options)
    return int(answer.stdout.split("largest")[1]), answer.stderr


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
    large, complaints = largest_shared_memory(**fast_dds_profile())
    if not plain:
        pytest.skip("this middleware is not Fast DDS with shared memory")
    assert plain < 1_000_000
    assert large >= 32 * 1024**2
    assert "rror" not in complaints
