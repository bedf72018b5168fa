import threading

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Anchor, Frame, MapIdentity, Reason, Rejection
from visloc_ros.pipeline.anchors import InlineAnchors, RemoteAnchors, ThreadedAnchors

SECOND = 1_000_000_000
CAMERA = pycolmap.Camera(model="PINHOLE", width=4, height=4, params=[4, 4, 2, 2])


def frame(seconds):
    return Frame(round(seconds * SECOND), np.zeros((4, 4), np.uint8), CAMERA)


class Echo:
    """Engine that refuses every frame and remembers what it was asked."""

    map_identity = MapIdentity("room", metric=True)

    def __init__(self):
        self.asked = []

    def localize(self, frame, prior=None):
        self.asked.append((frame.stamp_ns, prior))
        return Rejection(frame.stamp_ns, Reason.FEW_MATCHES)


class Gate(Echo):
    """Engine that works only while its gate is open."""

    def __init__(self):
        super().__init__()
        self.started, self.open = threading.Event(), threading.Event()

    def localize(self, frame, prior=None):
        self.started.set()
        assert self.open.wait(10)
        return super().localize(frame, prior)


class Broken:
    map_identity = Echo.map_identity

    def localize(self, frame, prior=None):
        raise RuntimeError("no models")


def drive(runner, times):
    """Feed frames as the localizer does; (stamp, stamps of the results) for each."""
    log = []
    for seconds in times:
        if runner.is_idle(round(seconds * SECOND)):
            runner.submit(frame(seconds), None)
        log.append((seconds, [r.result.stamp_ns / SECOND for r in runner.finished(round(seconds * SECOND))]))
    return log


def test_inline_results_come_no_sooner_than_their_latency():
    log = drive(InlineAnchors(Echo(), period_s=0.0, latency_s=0.3), np.arange(10) / 10)
    assert [(t, done) for t, done in log if done] == [(0.3, [0.0]), (0.7, [0.4])]


@pytest.mark.parametrize(("rate_hz", "asked"), [(10, [0.0, 0.5, 1.0, 1.5]), (5, [0.0, 0.6, 1.2, 1.8]), (1, [0.0, 1.0])])
def test_inline_searches_by_time_whatever_the_frame_rate(rate_hz, asked):
    engine = Echo()
    drive(InlineAnchors(engine, period_s=0.5), np.arange(2 * rate_hz) / rate_hz)
    assert [round(stamp / SECOND, 1) for stamp, _ in engine.asked] == asked


def test_inline_begins_again_where_stamps_run_back():
    engine = Echo()
    drive(InlineAnchors(engine, period_s=0.5), [5.0, 5.1, 2.0, 2.1, 2.5])
    assert [stamp / SECOND for stamp, _ in engine.asked] == [5.0, 2.0, 2.5]


def test_inline_gives_up_a_result_of_a_time_that_does_not_come_again():
    engine = Echo()
    log = drive(InlineAnchors(engine, period_s=0.5, latency_s=1.0), [5.0, 2.0, 2.5, 3.0])
    assert [stamp / SECOND for stamp, _ in engine.asked] == [5.0, 2.5]
    assert [done for _, done in log] == [[]] * 4


def test_anchors_know_their_map():
    runner = InlineAnchors(Echo())
    runner.submit(frame(1), None)
    assert [anchor.map.name for anchor in runner.finished(SECOND)] == ["room"]


def test_remote_anchors_wait_in_the_order_of_their_arrival_and_ask_for_no_image():
    runner = RemoteAnchors()
    anchors = [Anchor(Rejection(stamp, Reason.FEW_MATCHES), Echo.map_identity) for stamp in (3, 1, 2)]
    for anchor in anchors:
        runner.add(anchor)
    assert not runner.is_idle(5)
    assert runner.finished(5) == anchors
    assert runner.finished(6) == []


def test_inline_refuses_nonsense():
    with pytest.raises(ValueError, match="period_s"):
        InlineAnchors(Echo(), period_s=float("nan"))
    with pytest.raises(ValueError, match="latency_s"):
        InlineAnchors(Echo(), latency_s=-1.0)


def test_inline_hands_the_prior_over_and_drops_its_result_when_closed():
    engine, prior = Echo(), SE3.identity()
    runner = InlineAnchors(engine, latency_s=1.0)
    runner.submit(frame(0), prior)
    assert engine.asked == [(0, prior)]
    assert not runner.is_idle(SECOND // 2)
    runner.close()
    assert runner.finished(10 * SECOND) == []


def wait_for_results(runner, count):
    results, given_up = [], threading.Event()
    timer = threading.Timer(10, given_up.set)
    timer.start()
    while len(results) < count and not given_up.is_set():
        results += runner.finished(0)
    timer.cancel()
    return results


def test_threaded_keeps_only_the_latest_waiting_frame():
    engine = Gate()
    runner = ThreadedAnchors(engine)
    runner.submit(frame(0), None)
    assert engine.started.wait(10)
    for seconds in (1, 2, 3):
        runner.submit(frame(seconds), None)
    assert not runner.is_idle(0)
    assert runner.finished(0) == []
    assert runner.dropped == 2
    engine.open.set()
    assert [r.result.stamp_ns / SECOND for r in wait_for_results(runner, 2)] == [0.0, 3.0]
    runner.close()
    assert not runner.is_idle(0)


def test_threaded_error_reaches_the_caller():
    runner = ThreadedAnchors(Broken())
    runner.submit(frame(0), None)
    with pytest.raises(RuntimeError, match="no models"):
        wait_for_results(runner, 1)
    runner.close()
    unasked = ThreadedAnchors(Broken())
    unasked.submit(frame(0), None)
    unasked._worker.join(10)
    with pytest.raises(RuntimeError, match="no models"):
        unasked.close()
