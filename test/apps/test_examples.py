"""The examples run as their docstrings say."""

import subprocess
import sys
from pathlib import Path

import pytest

from visloc_ros.simulation import SimulationConfig, simulate, write_folder

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SimulationConfig(duration_s=3.0), "localize"), folder)
    return folder


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_finds_the_camera_in_the_demo_map(example, recording):
    command = [sys.executable, str(example), str(ROOT / "maps" / "demo_room.tar.gz"), str(recording)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert finished.returncode == 0, finished.stderr
    assert "[" in finished.stdout, finished.stdout  # a position
