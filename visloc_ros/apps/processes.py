"""Start the nodes as processes with their parameter files, and stop them cleanly, without the launch tool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import yaml

from visloc_ros.core.errors import SetupError

STOP_TIMEOUT_S = 15.0
POLL_PERIOD_S = 0.2

# Apart from the terminal's foreground: Ctrl-C reaches this program first, which then stops the nodes in order. Not by
# sessions where process groups do: Linux may give each session an equal share (autogroup), and what is to work in spare
# time only would then take the share of its session.
APART: Mapping[str, Any] = {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}


@dataclass(frozen=True)
class NodeSpec:
    """One node process: its module under ``visloc_ros.nodes``, parameters and remappings."""

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    parameter_file: Path | None = None
    remappings: Mapping[str, str] = field(default_factory=dict)

    def command(self, parameter_folder: Path) -> list[str]:
        """Command line of the process; parameters given here win over the file's."""
        arguments = ["--ros-args"]
        if self.parameter_file is not None:
            arguments += ["--params-file", str(self.parameter_file)]
        if self.parameters:
            arguments += ["--params-file", str(self._write_parameters(parameter_folder))]
        for source, target in self.remappings.items():
            arguments += ["-r", f"{source}:={target}"]
        return [sys.executable, "-m", f"visloc_ros.nodes.{self.name}", *arguments]

    def _write_parameters(self, folder: Path) -> Path:
        path = folder / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(self.parameters)}}), encoding="utf-8")
        return path


class NodeProcesses:
    """A group of node processes that lives as long as the ``with`` block and ends together."""

    def __init__(self, specs: Sequence[NodeSpec], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._specs = specs
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.peak_rss_mb: dict[str, float] = {}

    def __enter__(self) -> NodeProcesses:
        self._folder.mkdir(parents=True, exist_ok=True)
        for spec in self._specs:
            command = spec.command(self._folder)
            self._processes[spec.name] = subprocess.Popen(command, env=self._environment, **APART)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_for(self, name: str) -> int:
        """Wait for one process to end by itself; raises SetupError when another one ends before it."""
        while (code := self._processes[name].poll()) is None:
            self.check_all_alive()
            time.sleep(POLL_PERIOD_S)
        return code

    def wait_for_any(self) -> None:
        """Wait until one of the processes ends, then raise SetupError naming it."""
        while True:
            self.check_all_alive()
            time.sleep(POLL_PERIOD_S)

    def check_all_alive(self) -> None:
        """Raise SetupError when a process has ended; keeps the peak memory of each on the way."""
        for name, process in self._processes.items():
            self._measure_memory(name, process)
            if process.poll() is not None and process.returncode != 0:
                raise SetupError(f"{name} ended with exit code {process.returncode}; its last words are above")

    def stop(self) -> None:
        """Ask all processes to end, wait, and kill what does not."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def exit_codes(self) -> dict[str, int | None]:
        """Exit code of each process, None while it runs."""
        return {name: process.returncode for name, process in self._processes.items()}

    def _measure_memory(self, name: str, process: subprocess.Popen[bytes]) -> None:
        try:
            resident_mb = psutil.Process(process.pid).memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            return
        self.peak_rss_mb[name] = max(self.peak_rss_mb.get(name, 0.0), resident_mb)
