"""The stages of anchors on the demo map: the figures in the file, the table, and bad input."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.anchor import one_map
from visloc_ros.core.errors import SourceError
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

REPOSITORY = Path(__file__).resolve().parents[3]
DEMO_MAP = REPOSITORY / "maps" / "demo_room.tar.gz"
EIGHT_STAGES = ["decode", "features", "global", "retrieval", "merge", "matching", "correspondences", "pnp"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three frames of a second visit, with truth."""
    folder = tmp_path_factory.mktemp("bench") / "visit"
    write_folder(simulate(SimulationConfig(rate_hz=2.0, duration_s=1.5, samples=1), "localize"), folder)
    return folder


def bench(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["one_map", *map(str, arguments)])
    one_map.main()


@pytest.fixture(scope="module")
def elsewhere(recording, tmp_path_factory):
    """The same recording with noise for images."""
    folder = tmp_path_factory.mktemp("noise") / "visit"
    shutil.copytree(recording, folder)
    rng = np.random.default_rng(0)
    for path in (folder / "rgb").iterdir():
        cv2.imwrite(str(path), rng.integers(0, 256, (480, 640, 3), np.uint8))
    return folder


@pytest.fixture(scope="module")
def measured(recording, elsewhere, tmp_path_factory):
    """What is printed, and the figures of a run in a process of its own."""
    folder = tmp_path_factory.mktemp("figures")
    files = ("--json", folder / "figures" / "a.json")
    options = ("--map", DEMO_MAP, "--source", recording, "--with-prior", "--max-frames", 2, "--warm-up", 1, *files)
    options = (*options, "--elsewhere", elsewhere)
    command = [sys.executable, "-m", "benchmarks.anchor.one_map", *map(str, options)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=250)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, json.loads((folder / "figures" / "a.json").read_text())


def test_the_file_holds_the_stages_of_both_ways(measured):
    _, report = measured
    for summary in (report, report["with_prior"], report["elsewhere"]):
        stages = [stage for stage in summary["stage_ms"] if stage != "guided"]
        assert stages == EIGHT_STAGES
        assert all(0.0 <= spread["p50"] <= spread["p95"] for spread in summary["stage_ms"].values())
        assert summary["total_ms"]["p50"] >= summary["stage_ms"]["features"]["p50"] > 0.0


def test_the_file_holds_errors_counts_memory_and_where_it_ran(measured):
    _, report = measured
    assert report["accepted"] == report["frames"] == 2
    assert (report["elsewhere"]["accepted"], report["elsewhere"]["frames"]) == (0, 2)
    assert report["rejected"] == {}
    assert report["position_error_m"]["median"] < 0.05
    assert report["rotation_error_deg"]["max"] < 2.0
    assert len(report["warm_up_ms"]) == 1
    assert report["map_load_s"] > 0.0
    assert report["peak_rss_mb"] > 100.0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report["date"])
    assert {"machine", "command", "map", "source"} <= set(report)


def test_the_table_names_every_stage_of_the_reference(measured):
    shown, _ = measured
    for words in ("image decode", "local features", "│ matching ", "PnP", "total", "2 of 2 found"):
        assert words in shown


def test_the_command_can_be_typed_again(measured):
    _, report = measured
    assert report["command"].startswith("python -m benchmarks.anchor.one_map --map ")


def test_frames_beyond_the_end_of_the_source_are_reported(recording, monkeypatch):
    with pytest.raises(SourceError, match="selects none"):
        bench(monkeypatch, "--map", DEMO_MAP, "--source", recording, "--first", 100)


def test_a_map_must_be_given(recording, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        bench(monkeypatch, "--source", recording)
    assert "--map" in capsys.readouterr().err
