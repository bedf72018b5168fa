import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from made_local_maps import CONFIG, make_map

from visloc_ros.core.own_process import NICENESS
from visloc_ros.odometry.klt import background_adjustment
from visloc_ros.odometry.klt.adjustment import InlineAdjuster, snapshot_window
from visloc_ros.odometry.klt.background_adjustment import BackgroundAdjuster

TIMEOUT_S = 60.0


@pytest.fixture
def snapshots():
    local_map, _ = make_map(wrong_from=4)
    return [snapshot_window(local_map, CONFIG) for _ in range(3)]


@pytest.fixture
def background():
    adjuster = BackgroundAdjuster()
    yield adjuster
    adjuster.close()


def the_process():
    (process,) = (child for child in multiprocessing.active_children() if child.name == "bundle-adjustment")
    return process


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def test_background_gives_what_inline_gives(snapshots, background):
    inline = InlineAdjuster()
    inline.submit(snapshots[0])
    background.submit(snapshots[0])
    assert background.busy
    done = wait_until(background.finished)
    np.testing.assert_allclose(inline.finished()[1].points, done[1].points, atol=1e-9)
    assert not inline.busy
    assert not background.busy


def test_the_newest_snapshot_replaces_one_that_waits(snapshots, background):
    background.submit(snapshots[0])
    wait_until(background.finished)  # it has started, so that the next one is at work at once
    for snapshot in snapshots:
        background.submit(snapshot)
    done = [wait_until(background.finished).snapshot for _ in range(2)]
    assert [snapshots.index(snapshot) for snapshot in done] == [0, 2]
    assert not background.busy


def test_nothing_waits_for_the_process_to_start(snapshots, background):
    for snapshot in snapshots:
        background.submit(snapshot)
        assert background.finished() is None
    assert wait_until(background.finished).snapshot is snapshots[2]
    assert not background.busy


def test_ctrl_c_ends_no_process_that_is_starting(snapshots, background):
    os.kill(the_process().pid, signal.SIGINT)
    background.submit(snapshots[0])
    assert wait_until(background.finished).snapshot is snapshots[0]
    assert background.restarts == 0


def test_the_end_waits_for_no_process_that_is_still_starting():
    adjuster = BackgroundAdjuster()
    process = the_process()
    os.kill(process.pid, signal.SIGSTOP)  # as slow as a process can be
    adjuster.close()
    assert not process.is_alive()


def test_adjusting_beside_the_frames_gives_way_to_them(snapshots, background):
    background.submit(snapshots[0])
    wait_until(background.finished)
    assert os.getpriority(os.PRIO_PROCESS, the_process().pid) >= NICENESS


def test_a_process_that_dies_is_started_again(snapshots, background, caplog):
    background.submit(snapshots[0])
    the_process().kill()  # before it has started
    background.submit(snapshots[1])
    done = wait_until(background.finished)
    assert done.snapshot is snapshots[1]
    assert "the bundle adjustment process ended with exit code -9; it is started again in 1 s" in caplog.text
    the_process().kill()
    wait_until(lambda: the_process_is_gone())
    background.submit(snapshots[2])
    assert wait_until(background.finished).snapshot is snapshots[2]
    assert not background.busy


def test_a_process_that_hangs_is_killed_and_started_again(snapshots, background, caplog, monkeypatch):
    background.submit(snapshots[0])
    wait_until(background.finished)
    os.kill(the_process().pid, signal.SIGSTOP)
    background.submit(snapshots[1])
    monkeypatch.setattr(background_adjustment, "HUNG_S", 0.5)
    wait_until(lambda: background.finished() or the_process_is_gone())
    assert "the bundle adjustment process ended with exit code -9" in caplog.text
    monkeypatch.undo()
    background.submit(snapshots[2])
    assert wait_until(background.finished).snapshot is snapshots[2]
    assert background.restarts == 1


def the_process_is_gone():
    return not any(child.name == "bundle-adjustment" for child in multiprocessing.active_children())
