"""What makes a computer busy does so and leaves nothing behind; the tables tell what was measured."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event

import psutil
import pytest

from benchmarks import load_of_others
from benchmarks.busy_programs import (
    SPINNING,
    STREAMING,
    Nodes,
    beside,
    conditions,
    held_back,
    keep_quota,
    one_core,
    slow_down,
)
from visloc_ros.core.errors import SetupError

WAIT_S = 60.0
NODE = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])  # visloc_ros.nodes.{name}"
GOOD = {
    "frames": 250,
    "localized_frames": 245,
    "localized_share_after_first_fix": 1.0,
    "time_to_first_fix_s": 1.2,
    "pose_age_ms": {"p50": 15.0, "p95": 28.0},
    "position_error_m": {"median": 0.03, "p95": 0.06},
    "nees": {"mean": 5.0, "mean_band": [4.5, 7.5], "mean_is_at_most_band": True},
    "wrong_frames": 0,
    "anchors": {"accepted": 20, "rejected": 1, "fused": 19, "refused_by_fusion": 1},
    "frames_dropped": 2,
    "processor_share": {"localization_node": 0.8, "anchor_node": 0.4},
}
OVERCONFIDENT = {"mean": 9.0, "mean_band": [4.5, 7.5], "mean_is_at_most_band": False}
POOR = GOOD | {
    "localized_share_after_first_fix": 0.5,
    "pose_age_ms": {"p50": 40.0, "p95": 90.0},
    "position_error_m": {"median": 0.045, "p95": 0.1},
    "nees": OVERCONFIDENT,
}
PLAYED = ("frames", "anchors", "frames_dropped", "processor_share")
WITHOUT_POSE = load_of_others.FAILED | {name: GOOD[name] for name in PLAYED}
RUNS = {"kitchen": {"quiet": [GOOD, GOOD], "1 busy": [GOOD, POOR], "2 busy": [GOOD, WITHOUT_POSE]}}


def wait_until(condition):
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def pretended(name):
    """A process that looks like a node's, and its child, which works."""
    with subprocess.Popen([sys.executable, "-c", NODE.format(name=name)]) as node:
        family = [psutil.Process(node.pid)]
        wait_until(family[0].children)
        family += family[0].children()
        try:
            yield family
        finally:
            kill(family)


def kill(family):
    for process in reversed(family):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_stopped(process):
    return process.status() == psutil.STATUS_STOPPED


@pytest.mark.parametrize("program", [SPINNING, STREAMING])
def test_other_programs_use_the_processor_and_are_gone_afterwards(program):
    with beside(program, 2) as processes:
        programs = [psutil.Process(one.pid) for one in processes]
        wait_until(lambda: all(sum(one.cpu_times()[:2]) > 0.0 for one in programs))
        assert all(os.getsid(one.pid) == os.getsid(0) for one in programs)
    assert all(is_gone(one.pid) for one in programs)


def test_other_programs_are_gone_after_an_error():
    with pytest.raises(KeyError), beside(SPINNING, 1) as processes:
        raise KeyError
    assert is_gone(processes[0].pid)


def test_other_programs_may_have_sessions_of_their_own():
    with beside(SPINNING, 2, own_sessions=True) as processes:
        assert [os.getsid(one.pid) for one in processes] == [one.pid for one in processes]


def test_a_program_that_ends_before_the_measurement_is_reported():
    context = beside(SPINNING, 1)
    (process,) = context.__enter__()
    process.kill()
    process.wait(WAIT_S)
    with pytest.raises(RuntimeError, match="ended before"):
        context.__exit__(None, None, None)


def test_a_program_whose_parent_dies_ends_by_itself():
    parent = (
        "import os; from benchmarks.busy_programs import SPINNING, beside; context = beside(SPINNING, 1); "
        "print(context.__enter__()[0].pid, flush=True); os._exit(0)"
    )
    (pid,) = map(int, subprocess.run([sys.executable, "-c", parent], capture_output=True, check=True).stdout.split())
    wait_until(lambda: is_gone(pid))


def test_one_core_is_that_of_all_that_is_started_meanwhile():
    allowed = os.sched_getaffinity(0)
    asked = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
    with one_core():
        assert subprocess.run(asked, capture_output=True, check=True).stdout.split() == [b"1"]
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.parametrize("how", [partial(slow_down, 0.01, 0.02), partial(keep_quota, 0.05)])
def test_nodes_are_stopped_with_their_children_and_go_on_in_the_end(how):
    with pretended("odometry_node") as family:
        with held_back(how):
            for process in family:
                wait_until(lambda process=process: is_stopped(process))
                wait_until(lambda process=process: not is_stopped(process))
        assert not any(map(is_stopped, family))


def test_nodes_go_on_after_an_error():
    with pretended("odometry_node") as family:
        with suppress(KeyError), held_back(partial(slow_down, 0.01, 10.0)):
            wait_until(lambda: all(map(is_stopped, family)))
            raise KeyError
        assert not any(map(is_stopped, family))


def test_a_loop_that_fails_leaves_nothing_stopped():
    def fail(nodes: Nodes, _: Event) -> None:
        nodes.look()
        nodes.stop()
        raise ArithmeticError

    with pretended("odometry_node") as family:
        with pytest.raises(ArithmeticError), held_back(fail):
            pass
        assert not any(map(is_stopped, family))


def test_the_player_is_not_held_back():
    with pretended("replay_node") as player, pretended("odometry_node") as family:
        nodes = Nodes()
        nodes.look()
        nodes.stop()
        wait_until(lambda: all(map(is_stopped, family)))
        nodes.let_go()
        assert not any(map(is_stopped, player))


def test_the_processor_time_of_nodes_counts_from_when_they_are_found():
    with pretended("odometry_node") as family:
        nodes = Nodes()
        nodes.look()
        wait_until(lambda: nodes.spent_s() > 0.0)
        kill(family)
        wait_until(lambda: nodes.spent_s() == 0.0)  # of what is gone


def test_each_condition_has_its_name():
    names = [one.name for one in conditions()]
    assert len(set(names)) == len(names)
    assert set(load_of_others.TARGETS) | set(load_of_others.BY_COUNT) <= set(names)


def rows_of(table):
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_table_shows_every_run():
    quiet, one_busy, two_busy = rows_of(load_of_others.figures_table(RUNS))
    assert quiet["place"] == "kitchen"
    assert quiet["processor seconds a second, all nodes"] == "1.20 / 1.20"
    assert one_busy["localized after the first fix, %"] == "100.0 / 50.0"
    assert one_busy["median error, cm"] == "3.00 / 4.50"
    assert one_busy["× quiet"] == "1.00 / 1.50"
    assert one_busy["NEES"] == "5.0 / 9.0 (too high)"
    assert two_busy["localized after the first fix, %"] == "100.0 / 0.0"
    assert two_busy["first fix, s"] == "1.2 / never"
    assert two_busy["pose age p95, ms"] == "28 / –"


def test_the_targets_are_checked_by_the_worst_run():
    quiet, one_busy, two_busy = rows_of(load_of_others.targets_table(RUNS))
    assert quiet["kitchen"] == "holds"
    assert quiet["localized"] == "≥ 99.0 %"
    assert one_busy["kitchen"] == "localized 50.0 %, pose age p95 90 ms, median error 1.50 × quiet"
    assert two_busy["kitchen"] == "no pose in 1 of 2 runs"


def test_targets_hold_only_where_all_of_them_are_known():
    alone = {"kitchen": {"1 busy": [GOOD], "one core": [GOOD], "slowed to a third": [WITHOUT_POSE]}, "flight": {}}
    one_busy, one_core_row, slowed = rows_of(load_of_others.targets_table(alone))
    assert one_busy["kitchen"] == "median error unknown"  # without a quiet run beside it
    assert one_busy["flight"] == "–"
    assert one_core_row["median error"] == "–"
    assert one_core_row["kitchen"] == "holds"
    assert slowed["kitchen"] == "no pose in 1 of 1 runs"


def test_a_summary_without_a_pose_gives_figures_that_can_be_shown():
    summary = {name: WITHOUT_POSE[name] for name in WITHOUT_POSE} | {"anchors": {"accepted": 0, "rejected": {"X": 3}}}
    figures = load_of_others.figures_of(summary, (0, 0), {"anchor_node": 0.5})
    assert figures["anchors"] == {"accepted": 0, "rejected": 3, "fused": 0, "refused_by_fusion": 0}
    for run in (figures, load_of_others.FAILED):
        assert "localized 0.0 %" in load_of_others.line_of("kitchen", "4 busy", run)
        assert "| never |" in load_of_others.figures_table({"kitchen": {"quiet": [run], "4 busy": [run]}})


def test_a_replay_that_fails_is_a_run_without_a_pose_and_reported(monkeypatch, tmp_path):
    def fail(*_):
        raise SetupError("no node listens")

    monkeypatch.setattr(load_of_others, "BagSource", lambda *_: None)
    monkeypatch.setattr(load_of_others, "run_nodes", fail)
    run = load_of_others.measure(tmp_path, conditions()[0])
    assert load_of_others.line_of("kitchen", "quiet", run) == "kitchen, quiet: failed: no node listens"
    (row,) = rows_of(load_of_others.figures_table({"kitchen": {"quiet": [GOOD, run]}}))
    assert row["localized after the first fix, %"] == "100.0 / failed"
    assert load_of_others.verdict({"quiet": [GOOD, run]}, "quiet") == "no pose in 1 of 2 runs"


def test_of_a_summary_the_named_figures_are_kept():
    summary = GOOD | {
        "nees": {"mean": 9.0, "mean_band": [4.5, 7.5], "count": 9},
        "anchors": {"accepted": 20, "rejected": {}},
        "wall_s": 1.0,
    }
    figures = load_of_others.figures_of(summary, (19, 1), {"anchor_node": 0.5})
    assert figures["nees"] == OVERCONFIDENT
    assert set(figures) == set(load_of_others.FAILED)


def test_a_picture_is_drawn_even_of_runs_without_a_pose():
    nothing = {"flight": {"quiet": [WITHOUT_POSE], "4 busy": [load_of_others.FAILED]}, "room": {"memory": [GOOD]}}
    assert load_of_others.picture(RUNS | nothing).startswith(b"\x89PNG")
