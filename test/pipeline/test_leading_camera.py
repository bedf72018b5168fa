"""Which of several cameras odometry follows."""

from visloc_ros.core.types import Reason, Rejection
from visloc_ros.pipeline.leading_camera import LeadingCamera, sees

MS = 1_000_000


def test_another_camera_leads_once_odometry_is_lost_or_the_first_one_has_no_images():
    leading = LeadingCamera("front")
    for stamp_ns in range(0, 1000 * MS, 50 * MS):
        assert leading.takes("front", stamp_ns)
        assert not leading.takes("left", stamp_ns)
        leading.tracked("front", stamp_ns)
    assert not leading.takes("left", 1200 * MS)
    assert leading.takes("left", 1300 * MS)
    assert not leading.takes("front", 1300 * MS)
    leading.tracked("front", 1400 * MS)  # of an image before
    assert leading.takes("left", 1400 * MS)


def test_odometry_may_take_two_seconds_to_begin():
    leading = LeadingCamera("front")
    assert not leading.takes("left", 0)
    assert not leading.takes("left", 1900 * MS)
    assert leading.takes("left", 2100 * MS)


def test_a_recording_that_begins_again_keeps_its_camera():
    leading = LeadingCamera("front")
    assert leading.takes("front", 60_000 * MS)
    assert not leading.takes("left", 0)
    assert not leading.takes("left", 1900 * MS)


def test_a_camera_that_stands_still_sees_one_that_is_covered_does_not():
    assert sees(Rejection(0, Reason.STANDING_STILL))
    assert sees(Rejection(0, Reason.OVERLOADED))
    assert not sees(Rejection(0, Reason.FEW_FEATURES))
