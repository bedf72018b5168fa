"""Node processes: what dies is started again, what was set up wrongly is told."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from visloc_ros.apps import processes
from visloc_ros.apps.processes import NodeProcesses, NodeSpec
from visloc_ros.core.errors import SetupError

TIMEOUT_S = 30.0
DIES_TWICE = "lives.txt"


@dataclass(frozen=True)
class Program(NodeSpec):
    """A few lines of Python in a node's place; it gets the folder of the parameters."""

    script: str = ""

    def command(self, parameter_folder: Path) -> list[str]:
        return [sys.executable, "-c", self.script, str(parameter_folder)]


MORTAL = Program(
    "mortal",
    script=f"""
import sys, time
from pathlib import Path
lives = Path(sys.argv[1], "{DIES_TWICE}")
lives.open("a").write("x")
if len(lives.read_text()) <= 2:
    time.sleep(0.1)
    sys.exit(3)
time.sleep({TIMEOUT_S})
""",
)
LASTING = Program("lasting", script=f"import time; time.sleep({TIMEOUT_S})")


def watch_until(nodes: NodeProcesses, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        nodes.watch()
        time.sleep(0.02)


def test_a_node_that_dies_is_started_again_as_often_as_needed(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(processes, "SETTING_UP_S", 0.0)
    lives = tmp_path / DIES_TWICE
    with NodeProcesses([LASTING, MORTAL], tmp_path, restart_after_s=0.05) as nodes:
        watch_until(nodes, lambda: lives.exists() and lives.read_text() == "xxx")
        for _ in range(10):
            nodes.watch()
    assert lives.read_text() == "xxx"
    assert [record.getMessage() for record in caplog.records] == [
        "mortal ended with exit code 3; it is started again in 0 s"
    ] * 2


def test_a_node_that_dies_over_and_over_rests_longer_each_time_and_the_others_go_on(tmp_path, monkeypatch, caplog):
    dying = Program(
        "dying",
        script="""
import os, sys, time
from pathlib import Path
Path(sys.argv[1], "told.txt").open("a").write(os.environ["VISLOC_RESTARTS"])
time.sleep(0.0 if int(os.environ["VISLOC_RESTARTS"]) else 0.4)
sys.exit(3)
""",
    )
    monkeypatch.setattr(processes, "SETTING_UP_S", 0.2)
    monkeypatch.setattr(processes, "LONGEST_PAUSE_S", 0.4)
    told = tmp_path / "told.txt"
    with NodeProcesses([LASTING, dying], tmp_path, restart_after_s=0.1) as nodes:
        watch_until(nodes, lambda: told.exists() and told.read_text() == "01234")
    pauses = [record.args[1] for record in caplog.records]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.4]


def test_a_node_that_lives_long_again_is_started_again_soon(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(processes, "SETTING_UP_S", 0.0)
    monkeypatch.setattr(processes, "STEADY_S", 0.05)
    lives = tmp_path / DIES_TWICE
    with NodeProcesses([MORTAL], tmp_path, restart_after_s=0.1) as nodes:
        watch_until(nodes, lambda: lives.exists() and lives.read_text() == "xxx")
    assert [record.args[1] for record in caplog.records] == [0.1, 0.1]


def test_a_node_that_ends_at_once_was_set_up_wrongly(tmp_path):
    with (
        NodeProcesses([LASTING, MORTAL], tmp_path, restart_after_s=0.0) as nodes,
        pytest.raises(SetupError, match="mortal ended with exit code 3"),
    ):
        nodes.wait_for("lasting")
    assert (tmp_path / DIES_TWICE).read_text() == "x"


def test_a_node_that_is_killed_at_once_is_started_again(tmp_path):
    killed = Program(
        "killed",
        script=f"""
import os, signal, sys, time
from pathlib import Path
lives = Path(sys.argv[1], "{DIES_TWICE}")
lives.open("a").write("x")
if lives.read_text() == "x":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep({TIMEOUT_S})
""",
    )
    lives = tmp_path / DIES_TWICE
    with NodeProcesses([killed], tmp_path, restart_after_s=0.05) as nodes:
        watch_until(nodes, lambda: lives.exists() and lives.read_text() == "xx")


def test_without_restarts_any_death_ends_the_group(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "SETTING_UP_S", 0.0)
    with NodeProcesses([LASTING, MORTAL], tmp_path) as nodes, pytest.raises(SetupError, match="mortal ended"):
        nodes.wait_for("lasting")
    assert (tmp_path / DIES_TWICE).read_text() == "x"


def test_a_node_that_ends_in_peace_is_missed_too(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(processes, "SETTING_UP_S", 0.0)
    peaceful = Program("peaceful", script=MORTAL.script.replace("sys.exit(3)", "sys.exit(0)"))
    lives = tmp_path / DIES_TWICE
    with NodeProcesses([LASTING, peaceful], tmp_path, restart_after_s=0.05) as nodes:
        watch_until(nodes, lambda: lives.exists() and lives.read_text() == "xxx")
    assert "peaceful ended with exit code 0; it is started again in 0 s" in caplog.text


def test_a_nice_node_leaves_the_processors_to_the_others(tmp_path):
    own, nice = os.nice(0), NodeSpec("map_builder_node", niceness=3).command(tmp_path)
    program = [*nice[: nice.index("-c")], "-c", "import os; print(os.nice(0))"]
    assert int(subprocess.run(program, capture_output=True, text=True, check=True).stdout) == min(own + 3, 19)


OUTLIVING = f"""
import os, time
from visloc_ros.core.own_process import end_with
end_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep({TIMEOUT_S})
"""
SUPERVISOR = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {OUTLIVING!r}])"


def test_a_node_does_not_outlive_what_started_it_even_if_that_is_killed(tmp_path):
    """As ``kill -9`` of ``visloc up`` does, which leaves it no time to stop its nodes."""
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    node = psutil.Process(int(supervisor.stdout.readline()))
    supervisor.kill()
    supervisor.wait()
    node.wait(TIMEOUT_S / 2)
    assert f"end_with({os.getpid()})" in NodeSpec("fusion_node").command(tmp_path)[2]


def test_where_ros_is_missing_it_is_said_which_extra_brings_it_and_nothing_starts(monkeypatch, tmp_path):
    monkeypatch.setattr("visloc_ros.apps.processes.find_spec", lambda name: None if name == "visloc_msgs" else object())
    nodes = NodeProcesses([NodeSpec("anchor_node", {})], tmp_path)
    with pytest.raises(SetupError, match=r"^visloc_msgs cannot be imported: .*\[ros\]. ./visloc_msgs"):
        nodes.__enter__()
    assert not list(tmp_path.iterdir())
