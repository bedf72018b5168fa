import pytest

from visloc_ros.nodes.camera_health import StampHealth

NOW_NS = 1_700_000_000_000_000_000


def warned(age_s, uses_sim_time=False, is_clock_published=False, now_ns=NOW_NS, images=20):
    health = StampHealth(uses_sim_time)
    for index in range(images):
        arrived_ns = now_ns + index * 50_000_000 if now_ns else 0
        health.image(arrived_ns - round(age_s * 1e9), arrived_ns)
    return health.warning(is_clock_published)


@pytest.mark.parametrize("age_s", [-0.02, 0.0, 0.03, 0.4, 0.9])
def test_stamps_of_a_camera_on_this_clock_are_as_they_should_be(age_s):
    assert warned(age_s) == ""


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (-0.3, "stamped 0.30 s in the future"),
        (2.5, "arrive 2.5 s after they were taken"),
        (7200.0, "2 hours before this computer's clock: synchronize the clocks"),
        (-3.0 * 86400, "3 days after this computer's clock"),
    ],
)
def test_another_clock_is_told_with_by_how_much(age_s, words):
    assert words in warned(age_s)


def test_a_forgotten_use_sim_time_is_told_by_the_clock_that_somebody_publishes():
    assert "a replay needs use_sim_time:=true" in warned(4e7, is_clock_published=True)
    assert "use_sim_time:=true" not in warned(0.0, is_clock_published=True)


def test_use_sim_time_without_a_clock_or_with_live_images_is_told():
    assert "no time comes on /clock" in warned(0.0, uses_sim_time=True, now_ns=0)
    assert "use_sim_time:=false" in warned(-4e7, uses_sim_time=True, is_clock_published=True)


def test_images_of_a_replay_may_be_ahead_of_a_clock_that_comes_in_steps():
    assert warned(-0.1, uses_sim_time=True, is_clock_published=True) == ""
    assert "in the future" in warned(-0.5, uses_sim_time=True, is_clock_published=True)


def test_one_odd_stamp_is_no_habit():
    health = StampHealth(False)
    for index in range(30):
        health.image(NOW_NS + (10**12 if index == 7 else 0), NOW_NS)
    assert health.warning(False) == ""


def test_a_clock_that_is_mended_is_good_again():
    health = StampHealth(False)
    for index in range(200):
        health.image(NOW_NS + (10**9 if index < 100 else 0), NOW_NS)
    assert health.warning(False) == ""
