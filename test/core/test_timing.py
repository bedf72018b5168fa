import time

import pytest

from visloc_ros.core.timing import ProcessorTime


def spin(processor_s: float) -> None:
    begin_s = time.thread_time()
    while time.thread_time() - begin_s < processor_s:
        pass


def test_what_a_stage_takes_of_the_processor_is_reported_once_and_waiting_takes_nothing():
    processor, begin_s = ProcessorTime(), time.monotonic()
    with processor("work"):
        spin(0.05)
    with processor("work"):
        spin(0.05)
    with processor("waiting"):
        time.sleep(0.05)
    shares, passed_s = processor.take_shares(), time.monotonic() - begin_s
    assert shares["work"] * passed_s == pytest.approx(0.1, rel=0.1)
    assert shares["waiting"] < 0.1 * shares["work"]
    assert processor.take_shares() == {"work": 0.0, "waiting": 0.0}
