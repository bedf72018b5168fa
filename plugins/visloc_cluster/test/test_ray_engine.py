"""Workers of Ray: what the process engine promises, with one Ray for all tests, and a cluster that loses a machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
from items import (
    FAILURES,
    WAIT_S,
    die,
    die_once,
    environment,
    report,
    square,
    warn,
    worker_of,
)

from visloc_cluster import ray_engine
from visloc_cluster.ray_engine import RayEngine
from visloc_ros.core.child_process import DeathError
from visloc_ros.core.errors import SetupError
from visloc_ros.execution.engine import Resources
from visloc_ros.execution.opening import open_engine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Stage, Task, TaskRunner

if find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)  # or each worker would load it to collect tests
HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PLACES = os.pathsep.join(map(str, (HERE, ROOT / "test" / "execution", ROOT)))  # of items
HALF = Resources(processors=0.5)
NOTICE_DEATHS_SOON = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def cluster():
    """Two machines, as far as Ray knows; their workers inherit where this module and its neighbours are."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([PLACES, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        small = {"object_store_memory": 100 << 20}
        head = {"num_cpus": 1, "include_dashboard": False, "_system_config": NOTICE_DEATHS_SOON, **small}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        other = cluster.add_node(num_cpus=2, **small)
        yield cluster, other
        cluster.shutdown()


@pytest.fixture(scope="module")
def engine(cluster):
    engine = open_engine("ray", cluster[0].address)
    yield engine
    engine.close()


def test_every_item_is_done_once_in_other_processes(engine):
    assert dict(engine.run(square, range(30), HALF)) == {row: row**2 for row in range(30)}
    assert os.getpid() not in {pid for _, pid in engine.run(worker_of, range(4), HALF)}


def test_what_workers_log_is_logged_here(engine, caplog):
    assert dict(engine.run(warn, [3], HALF)) == {0: 3}
    assert "3 is odd" in caplog.messages


def test_an_item_that_kills_its_workers_is_named(engine, monkeypatch):
    monkeypatch.setattr(ray_engine, "MOST_RETRIES", 1)  # a worker of Ray begins in seconds
    with pytest.raises(DeathError, match="workers died at 2"):
        list(engine.run(die, range(3), HALF))


def test_an_error_of_the_function_ends_the_run_and_the_engine_goes_on(engine):
    function, error, words = FAILURES[0]  # the others are the same to Ray: values that a worker gives back
    with pytest.raises(error, match=words):
        list(engine.run(function, [0, 1], HALF))
    assert dict(engine.run(square, [3], HALF)) == {0: 9}


def test_a_worker_has_as_many_threads_as_it_was_promised(engine):
    assert dict(engine.run(environment, [0], Resources(processors=2))) == {0: ("2", 2)}


def test_a_run_that_is_abandoned_leaves_nothing_at_work(engine, tmp_path):
    results = engine.run(report, [(str(tmp_path), 0.0), (str(tmp_path), WAIT_S)], HALF)
    next(results)
    results.close()
    assert dict(engine.run(square, [3], HALF)) == {0: 9}
    deadline = time.monotonic() + WAIT_S
    while len(alive(tmp_path)) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(alive(tmp_path)) <= 1  # the one that was done waits for more


def alive(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if psutil.pid_exists(int(path.name))]


def test_machines_with_another_version_are_named(engine, monkeypatch):
    monkeypatch.setattr(ray_engine, "own_version", lambda: "0.0.1 (abc)")
    with pytest.raises(SetupError, match=r"the machine that has begun the work 0.0.1 \(abc\): install the same"):
        list(engine.run(square, [1], HALF))


def test_a_demand_that_no_machine_meets_is_reported(engine, caplog):
    engine._note_what_fits_nowhere(Resources(gpus=0.5, memory_bytes=1 << 50))
    assert "no machine of the cluster has" in caplog.text


def half(arguments, inputs):
    die_once(arguments["marker"])
    return {"value": inputs[0]["value"] / 2 if inputs else np.array(8.0)}


def test_stages_give_the_same_with_killed_workers_and_nothing_the_second_time(engine, tmp_path):
    store, stage = ArtifactStore(str(tmp_path / "store")), Stage("half", half, HALF)
    runner = TaskRunner(engine, store)
    [first] = runner.run([Task(stage, {"marker": str(tmp_path / "a")})])
    tasks = [Task(stage, {"marker": str(tmp_path / "b")}, (first,))]
    keys = runner.run(tasks)
    assert [float(store.read(key)["value"]) for key in keys] == [4.0]
    for path in tmp_path.glob("?"):
        path.unlink()  # whatever runs again dies and leaves its marker
    assert runner.run(tasks) == keys
    assert not list(tmp_path.glob("?"))


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_is_not_there_is_an_error(address):
    with pytest.raises(SetupError, match=f"cannot use the Ray cluster at {address}"):
        ray_engine._check_reachable(address)


def test_a_ray_that_does_not_start_in_time_is_an_error(monkeypatch):
    import ray

    def init(**_):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(SetupError, match=r"cannot use the Ray cluster at this computer: The current node timed out"):
        RayEngine()


def test_without_ray_its_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SetupError, match=r"pip install 'ray\[client\]'"):
        RayEngine()


PROGRAM = (
    "from items import report; from visloc_ros.execution.engine import Resources\n"
    "from visloc_ros.execution.opening import open_engine\n"
    "list(open_engine('ray', {address!r}).run(report, [({folder!r}, 60.0)] * 2, Resources(processors=0.5)))"
)


def run_program(address: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": PLACES}
    program = PROGRAM.format(address=address, folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", program], env=environment)


def test_ctrl_c_ends_the_work(cluster, engine, tmp_path):
    with run_program(cluster[0].address, tmp_path) as program:
        while len(alive(tmp_path)) < 2:  # the test's own limit ends a wait for workers that never begin
            assert program.poll() is None, "the program ended before its workers had begun"
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
    deadline = time.monotonic() + WAIT_S
    while alive(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(tmp_path)


def test_the_work_of_a_machine_that_dies_is_done_by_another(cluster, engine, tmp_path):
    machines, other = cluster
    done = {}
    for row, _ in engine.run(report, [(str(tmp_path), 1.0)] * 6, Resources()):
        if not done:
            machines.remove_node(other, allow_graceful=False)
        done[row] = True
    assert sorted(done) == list(range(6))
