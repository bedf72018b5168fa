"""The examples run as their docstrings say."""

import runpy
import subprocess
import sys

import cv2
import pytest
from visloc_command import DEMO_MAP, ROOT

from visloc_ros.simulation import SimulationConfig, simulate, write_folder

LIVE = ROOT / "examples" / "02_localize_a_live_camera.py"
EXAMPLES = sorted(set((ROOT / "examples").glob("[0-9]*.py")) - {LIVE})


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SimulationConfig(duration_s=3.0, rate_hz=10.0, samples=1), "localize"), folder)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Five seconds: a search in the map takes a part of one, and the first fix needs two."""
    path = tmp_path_factory.mktemp("film") / "room.mp4"
    simulation = simulate(SimulationConfig(duration_s=5.0, rate_hz=15.0, samples=1), "localize")
    first = simulation.frame(0).rgb
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 15.0, first.shape[1::-1])
    for index in range(len(simulation)):
        writer.write(cv2.cvtColor(simulation.frame(index).rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_finds_the_camera_in_the_demo_map(example, recording, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(example), str(DEMO_MAP), str(recording)])
    runpy.run_path(str(example), run_name="__main__")
    assert_tells_a_position(capsys.readouterr().out)


def test_a_live_camera_is_found_in_the_demo_map(film):
    command = [sys.executable, str(LIVE), str(DEMO_MAP), str(film)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert finished.returncode == 0, finished.stderr
    assert_tells_a_position(finished.stdout)


def assert_tells_a_position(told):
    assert "[" in told, told
