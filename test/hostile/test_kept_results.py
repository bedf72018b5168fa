"""Long commands keep what they have done, whatever ends them, and see before the work that it can be written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from visloc_ros.apps import cli
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
WAIT_S = 90.0


@pytest.fixture
def visloc(monkeypatch, capsys):
    """Runs a command in this process that must fail, and gives what it said and its error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["visloc", *map(str, arguments)])
        monkeypatch.setattr(cli, "keep_freed_memory", lambda: None)  # that is the whole process's
        with pytest.raises(SystemExit, match="1"):
            cli.main()
        shown = capsys.readouterr()
        return shown.out, shown.err.strip().splitlines()[-1]

    return run


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A folder of images of the demo's room whose fourth one has another size."""
    folder = tmp_path_factory.mktemp("source") / "filmed"
    write_folder(simulate(SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=0.3), "localize"), folder)
    fourth = sorted((folder / "rgb").iterdir())[3]
    cv2.imwrite(str(fourth), np.zeros((100, 100, 3), np.uint8))
    return folder


@pytest.mark.parametrize(("command", "file"), [("localize", "poses.tum"), ("run", "trajectory.tum")])
def test_an_image_of_another_size_costs_nothing_that_was_done_before_it(visloc, filmed, tmp_path, command, file):
    _, error = visloc(command, DEMO_MAP, filmed, "--output", tmp_path / "out")
    assert "error:" in error
    assert "100" in error
    assert len(read_tum(tmp_path / "out" / file).poses) == 3
    assert (tmp_path / "out" / "summary.json").is_file()


def test_what_was_localized_is_on_the_disk_when_the_command_is_killed(filmed, tmp_path):
    arguments = ("localize", str(DEMO_MAP), str(filmed), "--output", str(tmp_path))
    running = subprocess.Popen([sys.executable, "-m", "visloc_ros.apps.cli", *arguments], stdout=subprocess.DEVNULL)
    deadline, outcomes = time.monotonic() + WAIT_S, tmp_path / "poses.jsonl"
    while not (outcomes.exists() and outcomes.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert [json.loads(line)["name"] for line in outcomes.read_text().splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [
        ("localize", "MAP", "FILMED", "--output", "TAKEN"),
        ("run", "MAP", "FILMED", "--output", "TAKEN"),
        ("track", "FILMED", "--output", "TAKEN/path.tum"),
        ("track", "FILMED", "--plot", "."),
        ("replay", "MAP", "FILMED", "--output", "TAKEN/out"),
        ("build-map", "FILMED", "--output", "TAKEN/map"),
        ("simulate", "TAKEN/room"),
    ],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_is_reported_before_the_work(visloc, filmed, tmp_path, arguments):
    (tmp_path / "taken").write_text("a file")
    named = {"MAP": str(DEMO_MAP), "FILMED": str(filmed), "TAKEN": str(tmp_path / "taken")}
    said, error = visloc(*(named.get(word, word.replace("TAKEN", named["TAKEN"])) for word in arguments))
    assert error.startswith("error: cannot write")
    assert not said
    assert (tmp_path / "taken").read_text() == "a file"
