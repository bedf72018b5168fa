"""Samples by stamp: order, age, what lies around a stretch of time."""

from visloc_ros.odometry.sample_buffer import SampleBuffer

SECOND = 1_000_000_000


def filled(*stamps_ns, keep_s=10.0):
    buffer = SampleBuffer(keep_s)
    for stamp_ns in stamps_ns:
        buffer.add(stamp_ns, f"at {stamp_ns}")
    return buffer


def test_what_lies_around_a_stretch_reaches_over_both_ends():
    buffer = filled(10, 20, 30, 40, 50)
    assert [stamp for stamp, _ in buffer.around(22, 38)] == [20, 30, 40]
    assert [stamp for stamp, _ in buffer.around(20, 40)] == [20, 30, 40]
    assert buffer.around(30, 30) == [(30, "at 30")]
    assert [stamp for stamp, _ in buffer.around(5, 12)] == [10, 20]
    assert [stamp for stamp, _ in buffer.around(45, 99)] == [40, 50]
    assert [stamp for stamp, _ in buffer.around(60, 70)] == [50]
    assert SampleBuffer(1.0).around(0, 1) == []


def test_samples_out_of_order_are_refused_and_counted():
    buffer = filled(10, 30, 20, 30, 40)
    assert [stamp for stamp, _ in buffer.around(0, 99)] == [10, 30, 40]
    assert (buffer.received, buffer.refused) == (5, 2)


def test_old_samples_are_forgotten():
    buffer = filled(SECOND, 2 * SECOND, 5 * SECOND, keep_s=3.5)
    assert [stamp for stamp, _ in buffer.around(0, 9 * SECOND)] == [2 * SECOND, 5 * SECOND]


def test_a_clock_that_is_set_back_starts_again():
    buffer = filled(10 * SECOND, 11 * SECOND, 3 * SECOND)
    assert buffer.newest_ns == 3 * SECOND
    assert [stamp for stamp, _ in buffer.around(0, 99 * SECOND)] == [3 * SECOND]
    assert buffer.refused == 0
