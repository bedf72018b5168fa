"""One version number, and packaging files that agree with the code."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import visloc_ros

REPOSITORY = Path(__file__).resolve().parents[2]


PLUGINS = sorted(path.parent for path in REPOSITORY.glob("plugins/*/setup.py"))
MANIFESTS = ["package.xml", "visloc_msgs/package.xml", *(f"plugins/{plugin.name}/package.xml" for plugin in PLUGINS)]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_package_manifests_carry_the_version(manifest: str) -> None:
    assert ElementTree.parse(REPOSITORY / manifest).findtext("version") == visloc_ros.__version__


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_carry_the_version(plugin: Path) -> None:
    version = re.search(r'^__version__ = "(.+)"$', (plugin / plugin.name / "__init__.py").read_text(), re.MULTILINE)
    assert version is not None
    assert version.group(1) == visloc_ros.__version__


def test_setup_carries_the_version() -> None:
    assert ask_setup("--version") == visloc_ros.__version__


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    changelog = (REPOSITORY / "CHANGELOG.rst").read_text(encoding="utf-8")
    newest = re.search(r"^(\d+\.\d+\.\d+)\b", changelog, re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == visloc_ros.__version__


def test_every_node_is_an_executable() -> None:
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    executables = re.search(r"NODES = \((.*?)\)", setup, re.DOTALL)
    assert executables is not None
    files = {path.stem for path in (REPOSITORY / "visloc_ros" / "nodes").glob("*_node.py")}
    assert set(re.findall(r"\w+_node", executables.group(1))) == files


def test_the_licence_is_named_everywhere() -> None:
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert ask_setup("--license") == "Apache-2.0"
    for manifest in MANIFESTS:
        assert ElementTree.parse(REPOSITORY / manifest).findtext("license") == "Apache-2.0"


def ask_setup(question: str) -> str:
    command = [sys.executable, "setup.py", "--quiet", question]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return answer.stdout.strip().splitlines()[-1]
