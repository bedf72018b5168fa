"""Which of several cameras odometry follows."""

import pytest

from visloc_ros.core.types import Reason, Rejection
from visloc_ros.pipeline.leading_camera import LeadingCamera, sees

MS = 1_000_000
POINTS = 100


def come(leading, camera, stamp_ns, is_tracked=True):
    """Whether an image that comes is followed, and odometry sees something in it."""
    leading.arrived(camera, stamp_ns)
    is_taken = leading.takes(camera, stamp_ns)
    if is_taken:
        leading.tracked(camera, stamp_ns, POINTS) if is_tracked else leading.missed(camera)
    return is_taken


def both(leading, begin_ms, end_ms, step_ms=50, behind_ms=0):
    """Images of both cameras, the other one's stamped behind; gives who leads at the end."""
    for stamp_ms in range(begin_ms, end_ms, step_ms):
        come(leading, "front", stamp_ms * MS)
        come(leading, "left", (stamp_ms - behind_ms) * MS)
    return leading.name


def test_another_camera_leads_once_the_first_one_has_no_images():
    leading = LeadingCamera("front")
    assert both(leading, 0, 1000) == "front"
    assert [come(leading, "left", ms * MS) for ms in (1000, 1200, 1250, 1300)] == [False, False, False, True]
    assert not come(leading, "front", 1300 * MS), "no change back at once"
    assert both(leading, 1350, 3000) == "left"


def test_another_camera_leads_once_odometry_sees_nothing():
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    taken = []
    for ms in range(1000, 1400, 50):
        come(leading, "front", ms * MS, is_tracked=False)
        taken.append(come(leading, "left", ms * MS))
    assert taken == [False] * 6 + [True] * 2


def test_a_frame_that_takes_long_costs_no_lead():
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    for ms in range(1000, 2000, 50):  # all of them arrive, and none is processed
        leading.arrived("front", ms * MS)
        leading.arrived("left", ms * MS)
        assert not leading.takes("left", ms * MS)


def test_clocks_that_differ_and_slow_cameras_with_gaps_cost_no_lead():
    for behind_ms in (-1000, -300, 300, 1000):
        assert both(LeadingCamera("front"), 2000, 5000, behind_ms=behind_ms) == "front"
    leading = LeadingCamera("front")
    assert both(leading, 0, 3000, step_ms=167) == "front"
    assert not come(leading, "left", 3000 * MS)
    assert not come(leading, "left", 3400 * MS), "two images are missing at 6 Hz"


def test_a_camera_that_sends_twice_as_many_images_leads():
    leading = LeadingCamera("front")
    both(leading, 0, 2000)
    for ms in range(2000, 4000, 50):
        come(leading, "left", ms * MS)
        if ms % 100 == 0:
            come(leading, "front", ms * MS)
    assert leading.name == "left"
    assert both(leading, 4000, 6000) == "left", "no change back"


def test_a_missing_image_is_noticed_by_the_next_but_one_of_another_camera():
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    leading.arrived("front", 1000 * MS)
    missing = []
    for ms in range(1000, 1200, 50):
        leading.arrived("left", ms * MS)
        missing.append(leading.is_missing("left", ms * MS))
    assert missing == [False, False, True, True]
    leading.arrived("front", 1200 * MS)
    assert not leading.is_missing("left", 1200 * MS)


def test_frames_that_there_is_no_time_for_show_as_much_as_the_one_before():
    for saw in (True, False):
        leading = LeadingCamera("front")
        both(leading, 0, 1000)
        leading.tracked("front", 1000 * MS, POINTS) if saw else leading.missed("front")
        for ms in range(1050, 1500, 50):
            leading.arrived("front", ms * MS)
            leading.skipped("front", ms * MS)
        leading.missed("front")
        assert leading.takes("left", 1500 * MS) is not saw


def test_a_camera_whose_place_is_looked_for_long_is_lost_by_the_images_that_wait():
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    leading.missed("front")
    taken = []
    for ms in range(1000, 1400, 50):
        leading.arrived("front", ms * MS)
        leading.arrived("left", ms * MS)
        taken.append(leading.takes("left", ms * MS))
    assert taken == [False] * 6 + [True] * 2


def test_a_camera_that_sees_nothing_of_the_map_leads_no_longer_than_two_seconds():
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    taken = []
    for ms in range(1000, 3200, 50):
        leading.arrived("front", ms * MS)
        leading.outdone("front", POINTS)
        leading.arrived("left", ms * MS)
        taken.append(leading.takes("left", ms * MS))
    assert 2000 <= 50 * taken.index(True) <= 2100


@pytest.mark.parametrize(("points", "leads_on"), [(POINTS // 2, True), (POINTS // 8, False)])
def test_a_camera_whose_odometry_loses_most_of_its_points_and_the_map_leads_no_more(points, leads_on):
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    leading.arrived("front", 1000 * MS)
    leading.outdone("front", points)
    leading.arrived("left", 1010 * MS)
    assert leading.takes("left", 1010 * MS) is not leads_on


def test_what_contradicts_leads_no_more_and_an_untrusted_camera_never():
    leading = LeadingCamera("front")
    both(leading, 0, 1000)
    leading.give_up("left")
    assert both(leading, 1000, 1100) == "front"
    leading.give_up("front")
    assert not leading.takes("left", 1100 * MS, may_lead=False)
    assert leading.takes("left", 1150 * MS)


def test_a_last_resort_leads_once_the_first_one_has_shown_nothing_for_two_seconds():
    for step_ms in (50, 10_000):  # it sends images that show nothing; it sends none
        leading, taken = LeadingCamera("front"), []
        both(leading, 0, 1000)
        leading.give_up("front")
        assert not leading.takes("left", 1000 * MS, is_last_resort=True)
        for ms in range(1000, 3500, 50):
            if ms % step_ms == 0:
                come(leading, "front", ms * MS, is_tracked=False)
            leading.arrived("left", ms * MS)
            if leading.takes("left", ms * MS, is_last_resort=True):
                taken.append(ms)
        assert taken
        assert 2950 <= taken[0] <= 3050


def test_odometry_may_take_two_seconds_to_begin():
    leading = LeadingCamera("front")
    assert [come(leading, "left", ms * MS) for ms in (0, 1900, 2100)] == [False, False, True]


def test_a_recording_that_begins_again_keeps_its_camera():
    leading = LeadingCamera("front")
    both(leading, 60_000, 61_000)
    assert both(leading, 0, 1900) == "front"


def test_a_camera_that_stands_still_sees_one_that_is_covered_does_not():
    assert sees(Rejection(0, Reason.STANDING_STILL))
    assert sees(Rejection(0, Reason.OVERLOADED))
    assert not sees(Rejection(0, Reason.FEW_FEATURES))
    assert not sees(Rejection(0, Reason.FROZEN))


def test_images_of_another_camera_that_have_waited_do_not_show_that_the_new_one_is_gone():
    """On a busy computer some wait that are older than the one with which it began to lead."""
    cameras = LeadingCamera("front")
    for tenth in range(21):
        for name in ("front", "left"):
            cameras.arrived(name, tenth * 100 * MS)
    assert cameras.takes("front", 1000 * MS)
    cameras.give_up("front")
    assert cameras.takes("left", 2000 * MS)
    assert not any(cameras.takes("front", tenth * 100 * MS) for tenth in range(11, 21))
    assert cameras.name == "left"


def test_a_camera_beside_that_is_unplugged_sends_no_more():
    leading = LeadingCamera("front")
    for behind_ms in (-400, 0, 400):
        both(leading, 5000, 8000, behind_ms=behind_ms)
        assert leading.is_sending("left")
    for ms in range(8000, 8900, 50):
        come(leading, "front", ms * MS)
    assert leading.is_sending("left"), "its driver may pause"
    for ms in range(8900, 9100, 50):
        come(leading, "front", ms * MS)
    assert not leading.is_sending("left")
    leading.arrived("left", 9100 * MS)
    assert leading.is_sending("left")
    for ms in range(9100, 12000, 50):  # now the other one does
        come(leading, "left", ms * MS)
        assert leading.is_sending("left")
    assert leading.name == "left"
    assert not leading.is_sending("front")


def test_a_slow_camera_beside_still_sends():
    leading = LeadingCamera("front")
    for ms in range(0, 20000, 50):
        come(leading, "front", ms * MS)
        if ms % 900 == 0:
            leading.arrived("left", ms * MS)
        assert ms < 900 or leading.is_sending("left")
