"""Worker processes: what dies is replaced, what fails is reported, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from items import (
    FAILURES,
    WAIT_S,
    count_running,
    die,
    die_once,
    environment,
    report,
    square,
    visible_gpu,
    warn,
    width_of_guessed_camera,
    worker_of,
)

from visloc_ros.core.child_process import DeathError
from visloc_ros.core.errors import ConfigError, SetupError
from visloc_ros.execution import engine as engines
from visloc_ros.execution import processes
from visloc_ros.execution.engine import Resources
from visloc_ros.execution.opening import open_engine
from visloc_ros.execution.processes import ProcessEngine
from visloc_ros.features.config import FeatureConfig
from visloc_ros.mapping import MappingConfig

ONE = Resources()


@pytest.fixture
def engine():
    engine = ProcessEngine(2)
    yield engine
    engine.close()
    assert not [one for one in psutil.Process().children(recursive=True) if "_serve" in one.name()]


def test_every_item_is_done_once_by_workers_that_stay(engine):
    assert dict(engine.run(square, range(9), ONE)) == {row: row**2 for row in range(9)}
    first = {pid for _, pid in engine.run(worker_of, range(4), ONE)}
    assert {pid for _, pid in engine.run(worker_of, range(4), ONE)} == first
    assert len(first) == 2
    assert os.getpid() not in first


def test_workers_that_use_colmap_end_without_a_word(engine, capfd):
    assert dict(engine.run(width_of_guessed_camera, [640], ONE)) == {0: 640}
    engine.close()
    assert capfd.readouterr().err == ""


def test_what_workers_log_is_logged_here(engine, caplog):
    assert dict(engine.run(warn, [3], ONE)) == {0: 3}
    assert "3 is odd" in caplog.messages


def test_a_killed_worker_loses_nothing(engine, tmp_path, caplog):
    done = dict(engine.run(die_once, [str(tmp_path / name) for name in "abc"], ONE))
    assert sorted(done) == [0, 1, 2]
    assert "SIGKILL; another worker does it again" in caplog.text


def test_an_item_that_kills_its_workers_is_named(engine):
    done = []
    with pytest.raises(DeathError, match=r"4 workers died at 2.*SIGKILL"):
        done.extend(engine.run(die, range(3), ONE))
    assert dict(engine.run(square, [3], ONE)) == {0: 9}


@pytest.mark.parametrize(
    ("function", "error", "words"),
    FAILURES,
)
def test_errors_of_the_function_end_the_run_and_the_engine_goes_on(engine, function, error, words):
    with pytest.raises(error, match=words):
        list(engine.run(function, [0, 1], ONE))
    assert dict(engine.run(square, [3], ONE)) == {0: 9}


def test_a_worker_has_as_many_threads_as_it_was_promised(engine):
    assert dict(engine.run(environment, [0], ONE)) == {0: ("1", 1)}
    [(_, (variable, threads))] = engine.run(environment, [0], Resources(processors=2))
    assert (variable, threads) == ("2", 2)


@pytest.mark.parametrize(("needs_bytes", "at_once"), [(1 << 20, 2), (3 << 30, 1), (1 << 40, 1)])
def test_no_more_run_at_once_than_fit_into_memory(engine, monkeypatch, tmp_path, needs_bytes, at_once):
    monkeypatch.setattr(processes, "free_memory_bytes", lambda: 4 << 30)
    needs = Resources(processors=0.5, memory_bytes=needs_bytes)
    counts = [count for _, count in engine.run(count_running, [(str(tmp_path), at_once)] * 4, needs)]
    assert max(counts) == at_once


def test_a_gpu_that_is_missing_is_an_error(engine, monkeypatch):
    monkeypatch.setattr(processes, "gpu_names", lambda: ())
    with pytest.raises(SetupError, match="has none"):
        list(engine.run(square, [1], Resources(gpus=1)))


@pytest.mark.parametrize(("there", "shares"), [((), (0.0, 0.125, 0.0)), (("0",), (0.0, 0.125, 0.125))])
def test_a_device_among_the_options_takes_a_share_of_a_gpu(there, shares, monkeypatch):
    monkeypatch.setattr(engines, "gpu_names", lambda: there)
    options = [FeatureConfig(device=device) for device in ("cpu", "cuda", "auto")]
    assert tuple(ONE.on_device_of(one).gpus for one in options) == shares
    nested = MappingConfig(features=options[1])
    assert ONE.on_device_of(nested).gpus == 0.125


def test_workers_share_the_gpus(monkeypatch):
    monkeypatch.setattr(processes, "gpu_names", lambda: ("4", "7"))
    engine = ProcessEngine(2)
    found = {gpu for _, gpu in engine.run(visible_gpu, range(4), Resources(processors=0.5, gpus=1))}
    engine.close()
    assert found == {"4", "7"}


def test_a_run_that_is_abandoned_leaves_nothing_at_work(engine, tmp_path):
    results = engine.run(report, [(str(tmp_path), 0.0), (str(tmp_path), WAIT_S)], ONE)
    next(results)
    results.close()
    assert dict(engine.run(square, [3], ONE)) == {0: 9}


PROGRAM = (
    "from items import report; from visloc_ros.execution.engine import Resources\n"
    "from visloc_ros.execution.opening import open_engine\n"
    "list(open_engine('processes', workers=2).run(report, [({folder!r}, 60.0)] * 4, Resources()))"
)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_program(tmp_path, end):
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{here}:{here.parents[1]}"}
    program = PROGRAM.format(folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL) as parent:
        deadline = time.monotonic() + WAIT_S
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        parent.send_signal(end)
    while any(psutil.pid_exists(int(path.name)) for path in tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list(tmp_path.iterdir())) == 2
    assert not any(psutil.pid_exists(int(path.name)) for path in tmp_path.iterdir())


def test_unknown_engines_and_addresses_without_a_cluster_are_refused():
    with pytest.raises(ConfigError, match="known: processes, serial"):
        open_engine("dask")
    with pytest.raises(ConfigError, match="engines of this computer have no address"):
        open_engine("processes", "auto")
