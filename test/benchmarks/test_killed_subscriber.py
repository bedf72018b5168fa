"""Images of a reliable publisher still reach a subscriber after another was killed, with the profile of Fast DDS."""

import threading
import time
from itertools import islice

import pytest

pytest.importorskip("rclpy")

from benchmarks import killed_subscriber
from visloc_ros.core.middleware import fast_dds_profile

STALLED_S = 15.0  # before the middleware would forget the killed process by itself
AT_ONCE_S = 0.5  # after the kill, when images may still be on their way


def test_images_go_on_with_the_profile_after_a_subscriber_was_killed(monkeypatch):
    monkeypatch.setattr(killed_subscriber, "BEFORE_S", 0.5)
    with killed_subscriber.killed_beside_survivor(fast_dds_profile()) as survivor:
        killed_s, stalled = time.monotonic(), threading.Timer(STALLED_S, survivor.kill)
        stalled.start()
        later = (line for line in survivor.stdout if float(line) > killed_s + AT_ONCE_S)
        assert len(list(islice(later, 60))) == 60
        stalled.cancel()
