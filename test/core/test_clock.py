from visloc_ros.core.clock import StampGuard, StampVerdict

SECOND = 1_000_000_000


def test_frames_in_order_pass():
    guard = StampGuard()
    assert [guard.judge(stamp) for stamp in (10, 20, 30)] == [StampVerdict.IN_ORDER] * 3


def test_a_shuffled_or_repeated_frame_is_only_dropped():
    guard = StampGuard()
    guard.judge(10 * SECOND)
    assert guard.judge(10 * SECOND) is StampVerdict.UNORDERED
    assert guard.judge(9 * SECOND + 1) is StampVerdict.UNORDERED
    assert guard.judge(10 * SECOND + 1) is StampVerdict.IN_ORDER


def test_a_looped_bag_starts_again_from_its_first_stamp():
    guard = StampGuard()
    guard.judge(100 * SECOND)
    assert guard.judge(90 * SECOND) is StampVerdict.CLOCK_JUMP
    assert guard.judge(90 * SECOND + 1) is StampVerdict.IN_ORDER
