"""The examples run as their docstrings say."""

import runpy
import sys

import cv2
import pytest
from visloc_command import DEMO_MAP, ROOT

from visloc_ros.simulation import SimulationConfig, simulate, write_folder

LIVE = ROOT / "examples" / "02_localize_a_live_camera.py"
EXAMPLES = sorted(set((ROOT / "examples").glob("[0-9]*.py")) - {LIVE})


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """As long as odometry needs to have a scale."""
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SimulationConfig(duration_s=2.4, rate_hz=10.0, samples=1), "localize"), folder)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four seconds: a search in the map takes a part of one, and the first fix needs two."""
    path = tmp_path_factory.mktemp("film") / "room.mp4"
    simulation = simulate(SimulationConfig(duration_s=4.0, rate_hz=15.0, samples=1), "localize")
    first = simulation.frame(0).rgb
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 15.0, first.shape[1::-1])
    for index in range(len(simulation)):
        writer.write(cv2.cvtColor(simulation.frame(index).rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@pytest.mark.parametrize("example", [*EXAMPLES, LIVE], ids=lambda path: path.stem)
def test_an_example_finds_the_camera_in_the_demo_map(example, request, monkeypatch, capsys):
    source = request.getfixturevalue("film" if example == LIVE else "recording")
    monkeypatch.setattr(sys, "argv", [str(example), str(DEMO_MAP), str(source)])
    runpy.run_path(str(example), run_name="__main__")
    told = capsys.readouterr().out
    assert "[" in told, told
