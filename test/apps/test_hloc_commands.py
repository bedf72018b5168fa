"""hloc on the command line: what goes wrong is one line that says what to do."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from visloc_ros.apps.cli import app
from visloc_ros.core.map import open_map

REPOSITORY = Path(__file__).resolve().parents[2]


def visloc(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "visloc_ros.apps.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def expect_error(finished: subprocess.CompletedProcess[str], *words: str) -> None:
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr
    for word in ("error:", *words):
        assert word in finished.stderr


def test_a_map_goes_to_hloc_and_back(tmp_path):
    demo_map = REPOSITORY / "maps" / "demo_room.tar.gz"
    exported = CliRunner().invoke(app, ["export-hloc", str(demo_map), "--output", str(tmp_path / "hloc")])
    assert exported.exit_code == 0, exported.output
    assert "localize_sfm.main" in (tmp_path / "hloc" / "README.txt").read_text()
    arguments = ["import-hloc", str(tmp_path / "hloc"), "--output", str(tmp_path / "map"), "--metric"]
    imported = CliRunner().invoke(app, arguments)
    assert imported.exit_code == 0, imported.output
    assert open_map(tmp_path / "map").manifest.metric
    expect_error(visloc("export-hloc", tmp_path / "map", "--output", tmp_path / "hloc"), "not empty")


@pytest.mark.parametrize("command", ["export-hloc", "import-hloc"])
def test_what_is_no_map(tmp_path, command):
    (tmp_path / "empty").mkdir()
    expect_error(visloc(command, tmp_path / "empty", "--output", tmp_path / "out"), "not a map folder")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
