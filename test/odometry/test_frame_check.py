"""Which frames are refused before tracking, and which start again."""

import logging

import numpy as np
import pytest

from visloc_ros.core.camera import guess_camera
from visloc_ros.core.types import Frame, Reason
from visloc_ros.odometry.frame_check import FrameCheck

CAMERA = guess_camera(64, 48)


def frame(stamp_ns, camera=CAMERA, size=(48, 64)):
    return Frame(stamp_ns, np.zeros(size, np.uint8), camera)


def test_only_newer_stamps_are_of_use_until_a_reset():
    check = FrameCheck()
    reasons = [check.refuse(frame(stamp_ns)) for stamp_ns in (5, 6, 6, 3, 7)]
    assert [refused and refused.reason for refused in reasons] == [None, None, Reason.STALE, Reason.STALE, None]
    check.reset()
    assert check.refuse(frame(3)) is None


def test_an_image_that_its_calibration_is_not_for_is_refused_and_its_stamp_forgotten(caplog):
    check = FrameCheck()
    with caplog.at_level(logging.WARNING):
        refused = check.refuse(frame(9, size=(24, 32)))
    assert (refused.stamp_ns, refused.reason) == (9, Reason.INTRINSICS_MISMATCH)
    assert "32x24" in caplog.text
    assert check.refuse(frame(8)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"params": [80.0, 32.0, 24.0, 0.0]},
        {"model": "SIMPLE_RADIAL", "params": [76.8, 32.0, 24.0, 0.1]},
        {"width": 128},
    ],
)
def test_another_calibration_is_a_new_camera_and_logged(changed, caplog):
    check, camera = FrameCheck(), guess_camera(64, 48)
    for name, value in changed.items():
        setattr(camera, name, value)
    cameras = [CAMERA, guess_camera(64, 48), camera, camera]
    with caplog.at_level(logging.WARNING):
        began = [check.is_new_camera(frame(row, each)) for row, each in enumerate(cameras)]
    assert began == [True, False, True, False]
    assert [record.getMessage() for record in caplog.records] == [
        "the calibration changes at 2 ns: odometry starts again"
    ]
    check.reset()
    assert check.is_new_camera(frame(0, camera))
