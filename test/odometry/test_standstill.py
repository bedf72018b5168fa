"""Standing still, told by images alone."""

from itertools import groupby, islice

import numpy as np

from visloc_ros.core.types import Frame, Reason, Rejection
from visloc_ros.odometry import AidedOdometry, ImuConfig, WheelConfig
from visloc_ros.odometry.aided import StandstillDetector
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources import open_source

CAMERA = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=10.0, duration_s=4.0, samples=1)


class Slowed:
    """The walk through the room, at a share of its speed: 0 stands."""

    def __init__(self, share):
        self._share = share

    def pose(self, seconds):
        return PATHS["localize"].pose(self._share * seconds)


def verdicts(frames):
    detector = StandstillDetector()
    return [detector.is_still(frame) for frame in frames]


def test_a_standing_camera_stands_from_its_second_image_on_whatever_the_light_does():
    still = verdicts(simulate(CAMERA, "localize", path=Slowed(0.0)))
    assert still == [False] + [True] * (len(still) - 1)


def test_creeping_is_no_standing():
    """At 2 % of its speed the walk takes a tenth of a second for what is called standing."""
    walk = list(simulate(CAMERA, "localize", path=Slowed(0.02)))
    rests = np.flatnonzero(~np.array(verdicts(walk)))
    path = Slowed(0.02)
    for begin, end in zip(rests, [*rests[1:], len(walk)], strict=True):
        first, last = path.pose(begin / 10.0), path.pose((end - 1) / 10.0)
        assert np.linalg.norm(first.translation - last.translation) < 0.015
    assert len(rests) >= 3


def test_a_drone_that_stands_with_its_rotors_turning_stands(shared_data):
    still = verdicts(open_source(shared_data / "euroc_v101_still"))
    assert still == [False] + [True] * 39


def test_no_camera_that_is_carried_stands_for_long(shared_data):
    """Some images of a hand-held camera are alike; a second of them is not."""
    for name in ("7scenes_redkitchen", "tum_fr1_rpy_start", "euroc_mh05"):
        still = verdicts(islice(open_source(shared_data / name), 100, 250))
        longest = max((len(list(run)) for verdict, run in groupby(still) if verdict), default=0)
        assert longest < 20, name


def test_a_walking_camera_does_not_stand():
    assert not any(verdicts(simulate(CAMERA, "localize")))


def test_nothing_is_told_by_images_that_show_nothing_or_are_of_another_size():
    room = list(simulate(CAMERA, "localize", path=Slowed(0.0)))[:2]
    black = Frame(1, np.zeros_like(room[0].image), room[0].camera)
    assert verdicts([black, black, black]) == [False] * 3
    other = Frame(2, room[0].image[:120].copy(), room[0].camera)
    assert verdicts([room[0], room[1], other, room[1]]) == [False, True, False, False]


class Waiting:
    """An odometry that has not begun."""

    reason = Reason.DEGENERATE_MOTION

    def track(self, frame):
        return Rejection(frame.stamp_ns, self.reason, {"pairs": 7.0})


def test_an_odometry_that_waits_for_motion_says_that_there_is_none():
    odometry = AidedOdometry(Waiting(), Gyroscope(), ImuConfig(), WheelConfig())
    first, second = (odometry.track(frame) for frame in list(simulate(CAMERA, "localize", path=Slowed(0.0)))[:2])
    assert (first.reason, second.reason) == (Reason.DEGENERATE_MOTION, Reason.STANDING_STILL)
    assert second.counts == {"pairs": 7.0}


def test_another_reason_stays_and_ends_the_standstill():
    visual = Waiting()
    odometry = AidedOdometry(visual, Gyroscope(), ImuConfig(), WheelConfig())
    frames = list(simulate(CAMERA, "localize", path=Slowed(0.0)))[:4]
    reasons = []
    for frame, reason in zip(
        frames, [Reason.DEGENERATE_MOTION, Reason.BLURRED] + 2 * [Reason.DEGENERATE_MOTION], strict=True
    ):
        visual.reason = reason
        reasons.append(odometry.track(frame).reason)
    assert reasons == [Reason.DEGENERATE_MOTION, Reason.BLURRED, Reason.DEGENERATE_MOTION, Reason.STANDING_STILL]
