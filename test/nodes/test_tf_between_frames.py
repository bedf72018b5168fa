"""``map -> odom`` between frames: sent on at a rate of its own, so that nobody waits for the next image."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from fusion_probe import Setup, map_from_base, parameters, running, stamp_of

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.trajectory import Trajectory

RATE = parameters(tf_publish_rate=50.0)
LAST = 49
TOLERANCE_NS = 100_000_000
SHIFT = 5.0  # metres


def repeated(setup: Setup) -> list[tuple[int, object]]:
    """What has come of ``map -> odom`` since the last frame's, with its stamps."""
    sent = [(stamp, pose) for stamp, *names, pose in setup.probe.transforms if names == ["map", "odom"]]
    frames = {stamp_of(index) + TOLERANCE_NS for index in range(LAST + 1)}
    last = max(index for index, (stamp, _) in enumerate(sent) if stamp in frames)
    return sent[last:]


def test_the_last_transform_is_sent_again_and_dated_on_but_never_by_a_clock_that_is_set(ros_domain, monkeypatch):
    with running(*RATE) as setup:
        setup.localize()
        setup.wait_for(lambda: len(repeated(setup)) > 5, "transforms between frames")
        (frame_ns, pose), *others = repeated(setup)
        stamps = [stamp for stamp, _ in others]
        assert frame_ns == stamp_of(LAST) + TOLERANCE_NS
        assert stamps == sorted(set(stamps))
        assert min(stamps) >= frame_ns + 1e9 / 50.0
        assert all(other.is_close(pose, 0.0, 0.0) for _, other in others)
        now_ns = setup.node.now_ns
        monkeypatch.setattr(setup.node, "now_ns", lambda: now_ns() + 3600 * 10**9)
        setup.settle()
        assert max(stamp for stamp, _ in repeated(setup)) < stamp_of(LAST) + 60 * 10**9
        setup.send_frame(LAST + 1)
        setup.wait_for(lambda: stamp_of(LAST + 1) + TOLERANCE_NS in setup.probe.edge("map", "odom"), "next frame's")


def test_the_images_right_after_the_first_fix_find_it(ros_domain):
    """It is dated ahead: without one at its own stamp, those in between would lie before everything that is known."""
    with running() as setup:
        setup.localize()
        stamps = sorted(setup.probe.edge("map", "odom"))
        first_ns = min(stamp for stamp in setup.probe.edge("odom", "base_link") if stamp in stamps)
        assert stamps[:2] == [first_ns, first_ns + TOLERANCE_NS]
        assert stamps[0] in [stamp_of(index) for index in range(LAST)]


def test_before_the_first_fix_there_is_nothing_to_send_again(ros_domain):
    with running(*RATE) as setup:
        setup.mount()
        for index in range(10):
            setup.send_frame(index)
        setup.settle()
        assert not setup.probe.edge("map", "odom")


def test_once_it_is_lost_nothing_is_sent_again(ros_domain):
    """The loss policy ``stop_tf``: who drives by the transform stops."""
    with running(*RATE, *parameters(fusion__state__lost_without_pose_s=0.5)) as setup:
        setup.localize()
        index = LAST + 1
        while setup.send_loss(index).state != LocalizationStatus.LOST:
            index += 1
        setup.settle()  # what was sent before is on its way
        count = len(setup.probe.transforms)
        setup.settle()
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOST
        assert len(setup.probe.transforms) == count


def test_a_camera_that_is_set_down_elsewhere_is_there_in_tf_from_its_first_pose_on(ros_domain):
    """No older ``map -> odom`` is dated after it, to be interpolated with."""
    with running(*RATE) as setup:
        setup.localize()
        for index in range(LAST + 1, LAST + 4):
            setup.send_loss(index)
        for index in range(LAST + 4, LAST + 20):
            setup.send_frame(index, segment=1)
            if index % 5 == 0:
                setup.send_anchor(index, shift=SHIFT)
        setup.settle()
        known = setup.probe.edge("odom", "base_link")
        found = [index for index in range(LAST + 4, LAST + 20) if stamp_of(index) in known]
        assert len(found) > 5
        assert all(abs(x_in_tf(setup, index) - map_from_base(index).translation[0] - SHIFT) < 0.1 for index in found)


def x_in_tf(setup: Setup, index: int) -> float:
    """Where the robot is along x in the map, as tf2 answers at a frame's stamp: between two dates it interpolates."""
    corrections = setup.probe.edge("map", "odom")
    stamps = sorted(corrections)
    map_from_odom = Trajectory(np.array(stamps), tuple(corrections[stamp] for stamp in stamps))
    correction = map_from_odom.interpolate(stamp_of(index))
    return float((correction @ setup.probe.edge("odom", "base_link")[stamp_of(index)]).translation[0])
