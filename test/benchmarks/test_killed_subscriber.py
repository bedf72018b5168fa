"""Images of a reliable publisher still reach a subscriber after another was killed, with the profile of Fast DDS."""

import pytest

pytest.importorskip("rclpy")

from benchmarks import killed_subscriber
from visloc_ros.core.middleware import fast_dds_profile


def test_images_go_on_with_the_profile_after_a_subscriber_was_killed(monkeypatch):
    for name, seconds in (("BEFORE_S", 0.5), ("AFTER_S", 3.0), ("COUNTED_S", 2.0)):
        monkeypatch.setattr(killed_subscriber, name, seconds)
    assert killed_subscriber.run_trial(fast_dds_profile()) > 0.5 * 2.0 * killed_subscriber.RATE_HZ
