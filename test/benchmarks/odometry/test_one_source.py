"""The odometry over one source: its table of times, and bad input."""

import json
import re
import sys

import pytest

from benchmarks.odometry import one_source
from visloc_ros.core.errors import SourceError
from visloc_ros.simulation import SimulationConfig, simulate, write_folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two seconds of a walk through the simulated room, small images, with truth."""
    folder = tmp_path_factory.mktemp("source") / "walk"
    config = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=2.0, samples=1)
    write_folder(simulate(config, "map"), folder)
    return folder


def measure(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["one_source", *map(str, arguments)])
    one_source.main()


def test_what_happens_once_and_every_frame_is_told(recording, tmp_path, monkeypatch, capsys):
    files = ("--json", tmp_path / "b.json", "--plot", tmp_path / "b.png")
    measure(monkeypatch, "--source", recording, "--fps", 15, "--max-frames", 30, *files)
    report = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert report["frames"] == 30
    assert len(report["warm_up_ms"]) == 2
    assert report["total_ms"]["p50"] >= report["inference_ms"]["p50"] > 0.0
    assert min(report["init_ms"], report["finalize_ms"], report["preprocess_ms"]["p50"]) >= 0.0
    assert report["stage_ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report["date"])
    shown = capsys.readouterr().out
    for words in (
        "init, once",
        "warm-up, first 2 frames",
        "preprocess",
        "inference",
        "finalize, once",
        "total a frame",
    ):
        assert words in shown
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_backend_is_told_with_the_known_ones(recording, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        measure(monkeypatch, "--source", recording, "--backend", "orb")
    assert "klt" in capsys.readouterr().err


def test_a_source_that_is_not_there_is_told(tmp_path, monkeypatch):
    with pytest.raises(SourceError, match="absent"):
        measure(monkeypatch, "--source", tmp_path / "absent")
