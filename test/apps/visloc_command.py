"""What the tests of commands share: the map that comes with the project, and a command that runs in this process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from visloc_ros.apps.cli import app

ROOT = Path(__file__).resolve().parents[2]
DEMO_MAP = ROOT / "maps" / "demo_room.tar.gz"
PROGRAM = (sys.executable, "-m", "visloc_ros.apps.cli")


def visloc(*arguments: object, **options: Any) -> Result:
    """Run a command here; its result holds what it wrote and the error that ended it."""
    return CliRunner().invoke(app, [*map(str, arguments)], **options)


def succeed(*arguments: object) -> Result:
    """Run a command here that has to succeed."""
    finished = visloc(*arguments)
    assert finished.exit_code == 0, finished.output
    return finished


def run_program(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=250)
