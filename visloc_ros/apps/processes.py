"""Starts the nodes as processes with their parameter files, restarts those that die, and stops them cleanly."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import yaml

from visloc_ros.apps.console import console
from visloc_ros.core.errors import SetupError
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.core.own_process import RESTARTS_VARIABLE

_log = logging.getLogger(__name__)

CHILDREN = ": child processes"  # after the name of a process
STOP_TIMEOUT_S = 15.0
POLL_PERIOD_S = 0.2
SETTING_UP_S = 10.0  # a node that ends by itself so soon after its first start would end again
LONGEST_PAUSE_S = 60.0  # before a restart of a node that dies over and over
STEADY_S = 60.0  # after this time a node has recovered

# Apart from the terminal's foreground: Ctrl-C reaches this program first, which then stops the nodes in order. Not by
# sessions where process groups do: Linux may give each session an equal share (autogroup), and what is to work in spare
# time only would then take the share of its session.
APART: Mapping[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


@dataclass(frozen=True)
class NodeSpec:
    """One node process: its name, parameters and remappings, and its module, by default that of our node of this name.

    The higher its ``niceness`` (0 to 19), the smaller its share of busy processors.
    """

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    parameter_file: Path | None = None
    remappings: Mapping[str, str] = field(default_factory=dict)
    niceness: int = 0
    module: str = ""

    def command(self, parameter_folder: Path) -> list[str]:
        """Command line of the process; parameters given here override the file's."""
        arguments = ["--ros-args"]
        if self.parameter_file is not None:
            arguments += ["--params-file", str(self.parameter_file)]
        if self.parameters:
            arguments += ["--params-file", str(self._write_parameters(parameter_folder))]
        for source, target in self.remappings.items():
            arguments += ["-r", f"{source}:={target}"]
        # Enclave of the process in SROS 2; without effect otherwise.
        arguments += ["--enclave", f"{self.remappings.get('__ns', '/visloc')}/{self.name}"]
        nice = ["nice", "-n", str(self.niceness)] if self.niceness else []
        # Not with -m: the process of bundle adjustment would import the node's module again.
        end = f"from visloc_ros.core.own_process import end_with; end_with({os.getpid()})"
        program = f"{end}; from {self.module or f'visloc_ros.nodes.{self.name}'} import main; main()"
        return [*nice, sys.executable, "-c", program, *arguments]

    def _write_parameters(self, folder: Path) -> Path:
        path = folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(self.parameters)}}), encoding="utf-8")
        return path


def camera_transport(image_topic: str) -> str:
    """How the images of a topic are sent, by its name: one that ends in /compressed carries JPEG."""
    return "compressed" if image_topic.endswith("compressed") else "raw"


def camera_remappings(transport: str, image_topic: str, camera_info_topic: str) -> dict[str, str]:
    """The topics that a node with a camera hears, by the names that it gives them."""
    return {"image/compressed" if transport == "compressed" else "image": image_topic, "camera_info": camera_info_topic}


def node_environment(domain_id: int = 0) -> dict[str, str]:
    """Environment of nodes that send images; they are in the caller's ROS domain unless another one is given."""
    return fast_dds_profile() | ({"ROS_DOMAIN_ID": str(domain_id)} if domain_id else {})


@dataclass
class _Running:
    """A process and when it was started; ``due_s`` is when it starts again, once it has died.

    ``restarts`` counts its restarts, ``pause_s`` is the pause before the last one.
    """

    process: subprocess.Popen[bytes]
    restarts: int = 0
    pause_s: float = 0.0
    begin_s: float = field(default_factory=time.monotonic)
    due_s: float | None = None


def check_ros() -> None:
    """Refuse to start nodes where they cannot import ROS. Raises SetupError that says how to get it."""
    missing = [name for name in ("rclpy", "visloc_msgs") if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"{' and '.join(missing)} cannot be imported: source the workspace's install/setup.bash; where no ROS 2 is "
            "installed, run 'make setup' in a checkout, or there: pip install '.[ros]' ./visloc_msgs"
        )


class NodeProcesses:
    """A group of node processes, started in the order given, that lives as long as the ``with`` block.

    With ``restart_after_s`` a node that dies is restarted after that time, which doubles each time until the node lives
    for a minute again; one that ends by itself right after its first start is not restarted.
    """

    def __init__(
        self,
        specs: Sequence[NodeSpec],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        restart_after_s: float | None = None,
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._restart_after_s = restart_after_s
        self._running: dict[str, _Running] = {}
        self.peak_rss_mb: dict[str, float] = {}
        self.processor_s: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """Processor time so far by process, its ``CHILDREN`` apart, with the monotonic time at which it was read."""

    def __enter__(self) -> NodeProcesses:
        check_ros()
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in self._specs:
            self._running[name] = _Running(self._start(name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for(self, name: str) -> int:
        """Wait for one process to end by itself; raises SetupError when another one ends before it for good."""
        while (code := self._running[name].process.poll()) is None:
            self.watch(may_end=name)
            time.sleep(POLL_PERIOD_S)
        return code

    def wait_for_any(self) -> None:
        """Wait until one of the processes ends for good, then raise SetupError naming it."""
        while True:
            self.watch()
            time.sleep(POLL_PERIOD_S)

    def watch(self, may_end: str = "") -> None:
        """Restart processes that have ended, with any exit code, or raise SetupError; ``may_end`` ends when it is done.

        Also records the peak memory of each, and its processor time.
        """
        for name, running in list(self._running.items()):
            self._measure(name, running.process)
            if name != may_end and running.process.poll() is not None:
                self._see_to(name, running)

    def _see_to(self, name: str, dead: _Running) -> None:
        """Restart a node when it is due. Raises SetupError for one that would only end again."""
        now_s = time.monotonic()
        if dead.due_s is None:
            how = f"{name} ended with exit code {dead.process.returncode}"
            lived_s = now_s - dead.begin_s
            ends_by_itself = dead.process.returncode >= 0  # a signal is from outside, or a crash
            is_set_up_wrongly = ends_by_itself and dead.restarts == 0 and lived_s < SETTING_UP_S
            if self._restart_after_s is None or is_set_up_wrongly:
                raise SetupError(f"{how}; its last words are above")
            is_steady = dead.restarts == 0 or lived_s >= STEADY_S
            dead.pause_s = self._restart_after_s if is_steady else min(2.0 * dead.pause_s, LONGEST_PAUSE_S)
            dead.due_s = now_s + dead.pause_s
            _log.warning("%s; it is started again in %.0f s", how, dead.pause_s)
        elif now_s >= dead.due_s:
            restarts = dead.restarts + 1
            self._running[name] = _Running(self._start(name, restarts), restarts, dead.pause_s)

    def _start(self, name: str, restarts: int = 0) -> subprocess.Popen[bytes]:
        command, variables = self._specs[name].command(self._folder), {RESTARTS_VARIABLE: str(restarts)}
        return subprocess.Popen(command, env={**self._environment, **variables}, **APART)

    def stop(self) -> None:
        """Ask all processes to end, wait, and kill those that do not."""
        processes = [running.process for running in self._running.values()]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _measure(self, name: str, process: subprocess.Popen[bytes]) -> None:
        try:
            root = psutil.Process(process.pid)
            resident_mb = root.memory_info().rss / 1e6
            own, *of_children = [one.cpu_times() for one in (root, *root.children(recursive=True))]
        except psutil.NoSuchProcess:
            return
        self.peak_rss_mb[name] = max(self.peak_rss_mb.get(name, 0.0), resident_mb)
        now_s = time.monotonic()
        self.processor_s[name].append((now_s, own.user + own.system))
        if of_children:
            self.processor_s[name + CHILDREN].append((now_s, sum(one.user + one.system for one in of_children)))


def run_until_stopped(
    specs: Sequence[NodeSpec], environment: Mapping[str, str], restart_after_s: float | None = None
) -> None:
    """Run nodes until Ctrl-C. Raises SetupError where one ends for good."""
    with (
        tempfile.TemporaryDirectory(prefix="visloc_nodes_") as folder,
        NodeProcesses(specs, Path(folder), environment, restart_after_s) as nodes,
    ):
        console.print(f"{len(specs)} processes are starting; Ctrl-C stops them")
        try:
            nodes.wait_for_any()
        except KeyboardInterrupt:
            console.print("stopping")
