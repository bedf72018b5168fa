"""Style, types and spelling, as ``make lint`` checks them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def check(command: list[str | Path]) -> None:
    """Run a command in the repository; it finds the packages of plug-ins."""
    environment = os.environ | {"MYPYPATH": ":".join(map(str, REPOSITORY.glob("plugins/*")))}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def program(name: str) -> Path:
    """A program beside this Python; skips the test where it is missing."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed beside this Python; 'make setup' brings it")
    return path


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["codespell"]], ids=" ".join)
def test_lint(command: list[str]) -> None:
    check([program(command[0]), *command[1:]])


def test_types() -> None:
    check([program("mypy"), "visloc_ros", "benchmarks", "testing", *REPOSITORY.glob("plugins/*")])


def test_types_of_programs_of_plugins() -> None:
    """They are in no package: their names are those by which they are run."""
    paths = [one for folder in ("benchmarks", "testing") for one in REPOSITORY.glob(f"plugins/*/{folder}/**/*.py")]
    modules = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths]
    if modules:
        check([program("mypy"), *(word for module in modules for word in ("-m", module))])
