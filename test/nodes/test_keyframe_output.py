"""Which frames go to the anchor machine."""

import pytest

from visloc_ros.nodes.keyframe_output import KeyframeChoice, KeyframeConfig

SECOND = 1_000_000_000
RATE_HZ = 10


def sent(choice, frames):
    """Indices of the frames at 10 Hz, (new view, sharpness) each, that are sent."""
    return [
        index
        for index, (has_new_view, sharpness) in enumerate(frames)
        if choice.is_due(index * SECOND // RATE_HZ, has_new_view) and choice.take(index * SECOND // RATE_HZ, sharpness)
    ]


def test_new_views_are_sent_at_once_but_not_too_often():
    frames = [(True, 1.0)] * 10
    assert sent(KeyframeChoice(KeyframeConfig(min_interval=0.3)), frames) == [0, 3, 6, 9]


def test_the_same_view_is_sent_again_after_a_while():
    frames = [(False, 1.0)] * 25
    assert sent(KeyframeChoice(KeyframeConfig(max_interval=1.0)), frames) == [0, 10, 20]


def test_a_blurred_frame_waits_for_a_sharp_one():
    frames = [(True, 1.0)] * 7 + [(True, 0.4)] * 2 + [(True, 0.9)]
    assert sent(KeyframeChoice(KeyframeConfig(min_interval=0.2)), frames) == [0, 2, 4, 6, 9]


def test_where_everything_has_become_blurred_that_is_usual():
    frames = [(True, 1.0)] * 10 + [(True, 0.3)] * 30
    assert max(sent(KeyframeChoice(KeyframeConfig(min_interval=0.0)), frames)) > 15


@pytest.mark.parametrize("stamp_ns", [5 * SECOND, 12 * SECOND])
def test_a_looped_bag_begins_again(stamp_ns):
    choice = KeyframeChoice(KeyframeConfig())
    assert choice.take(10 * SECOND, 1.0)
    assert not choice.is_due(10 * SECOND + 1, has_new_view=True)
    assert choice.is_due(stamp_ns, has_new_view=False)
