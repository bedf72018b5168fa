"""What the code imports is declared, and what is declared is pinned."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
OPTIONAL = {
    "cv_bridge",
    "kornia",
    "lightglue",
    "rerun",
    "tf2_ros",
}  # used where they are installed


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(file: str) -> set[str]:
    """Names in a requirements file, without versions, extras and comments."""
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    return {
        normalise(name) for line in lines if (name := re.match(r"[A-Za-z0-9._-]*", line).group()) and name[0] != "-"
    }


def imported_modules(files: Iterable[Path]) -> set[str]:
    """Top-level modules that the files import, without the standard library and this package."""
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"visloc_ros"}


def test_every_requirement_has_a_reason_and_a_pin() -> None:
    pins = set(re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE))
    for file in (
        "requirements.in",
        "requirements-runtime.in",
        "requirements-ros.in",
        "visloc_msgs/requirements-build.in",
        *(str(path) for path in REPOSITORY.glob("plugins/*/requirements.in")),
    ):
        assert requirements(file) <= pins
        lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line[:1].isalpha() and "#" not in line] == []


def test_every_pin_is_exact_has_a_checksum_and_no_address() -> None:
    pins = [line for line in LOCK.splitlines() if line[:1].isalpha()]
    assert [pin for pin in pins if not re.match(r"[a-z0-9-]+==\S+( ; .*)? \\$", pin)] == []
    assert "://" not in LOCK
    assert len(re.findall(r"\\\n    --hash=sha256:", LOCK)) >= len(pins)


def test_what_the_package_imports_is_declared() -> None:
    distributions = packages_distributions()
    imported = imported_modules(
        path for path in (REPOSITORY / "visloc_ros").rglob("*.py") if "nodes" not in path.relative_to(REPOSITORY).parts
    )
    provided_by = {
        module: {normalise(name) for name in distributions.get(module, [])} for module in imported - OPTIONAL
    }
    declared = requirements("requirements-runtime.in")
    assert {module: names for module, names in provided_by.items() if not names & declared} == {}


@pytest.mark.parametrize("folder", ["visloc_ros/nodes", "launch"])
def test_ros_packages_in_use_are_in_the_manifest(folder: str) -> None:
    dependencies = {item.text for item in ElementTree.parse(REPOSITORY / "package.xml").iter("exec_depend")}
    imported = imported_modules((REPOSITORY / folder).rglob("*.py"))
    ros = {module for module in imported if module.endswith("_msgs") or module.startswith(("rcl", "launch", "tf2"))}
    assert ros - OPTIONAL - {"ament_index_python"} <= dependencies
