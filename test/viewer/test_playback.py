"""Playing a recording: what is shown at which time."""

import numpy as np

from visloc_ros.viewer.trajectory_view import Playback

STAMPS_NS = np.array([5_000_000_000, 5_100_000_000, 5_300_000_000, 6_000_000_000])


def test_time_goes_by_only_while_it_plays_and_frames_keep_their_own_intervals():
    playback = Playback(STAMPS_NS)
    playback.advance(0.5)
    assert (playback.index, playback.time_s) == (0, 0.0)
    playback.is_playing = True
    seen = []
    for _ in range(10):
        playback.advance(0.1)
        seen.append(playback.index)
    assert seen[:9] == [1, 1, 2, 2, 2, 2, 2, 2, 2]
    assert playback.index == 3


def test_speed_a_jump_and_the_end():
    playback = Playback(STAMPS_NS, speed=2.0, is_playing=True)
    playback.advance(0.15)
    assert playback.index == 2
    playback.go_to(3)
    assert (playback.index, playback.time_s) == (3, 1.0)
    playback.advance(0.01)  # from the beginning again
    assert playback.index == 0


def test_a_recording_of_one_frame_stays_there():
    playback = Playback(STAMPS_NS[:1], is_playing=True)
    for _ in range(3):
        playback.advance(1.0)
        assert playback.index == 0
