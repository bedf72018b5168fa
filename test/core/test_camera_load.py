"""Which images a node skips on a busy computer, and what it says about it."""

from visloc_ros.core.camera_load import CameraLoad

INTERVAL_S = 1.0 / 30.0


def play(load, frame_s, count=300):
    """Images every ``INTERVAL_S``, of which each that is followed takes ``frame_s``: their ages when they are done."""
    ages_s, now_s = [], 0.0
    for index in range(count):
        now_s = max(now_s, index * INTERVAL_S)
        waiting = min(count - 1, int(now_s / INTERVAL_S + 1e-9)) - index
        if not load.skips(waiting, now_s):
            now_s += frame_s
            ages_s.append(now_s - index * INTERVAL_S)
    return ages_s


def test_a_computer_that_keeps_up_skips_nothing():
    load = CameraLoad()
    assert len(play(load, 0.9 * INTERVAL_S)) == 300
    assert (load.skipped, load.is_overloaded, load.words) == (0, False, "")


def test_a_short_delay_is_made_up_for():
    load = CameraLoad()
    waiting = [0] * 50 + [1, 1] + [0] * 50 + [1]
    assert not any(load.skips(number, index * INTERVAL_S) for index, number in enumerate(waiting))


def test_half_the_speed_follows_every_second_image_and_the_newest_is_the_next_one():
    load = CameraLoad()
    ages_s = play(load, 1.9 * INTERVAL_S)
    assert 130 < len(ages_s) < 160
    assert max(ages_s[20:]) < (1.9 + 1.5) * INTERVAL_S  # behind two waiting images it would be 3.9
    assert load.skipped == 300 - len(ages_s)
    assert load.words == "overloaded: following every second frame, predicting the others"


def test_a_third_of_the_speed_and_a_slight_overload_have_their_own_words():
    third, slight = CameraLoad(), CameraLoad()
    play(third, 2.9 * INTERVAL_S)
    assert third.words == "overloaded: following every third frame, predicting the others"
    play(slight, 1.2 * INTERVAL_S)
    assert slight.words.startswith("overloaded: ")
    assert slight.words.endswith("frames predicted, not followed")


def test_an_overload_is_over_when_images_no_longer_wait():
    load = CameraLoad()
    play(load, 2.9 * INTERVAL_S)
    begin_s = 300 * INTERVAL_S + 1.0
    for index in range(70):
        load.skips(0, begin_s + index * INTERVAL_S)
    assert not load.is_overloaded
