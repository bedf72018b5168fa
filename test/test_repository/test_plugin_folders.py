"""Plug-ins: nothing else names them, they use public names alone, and everything else runs without each of them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_architecture import imports_of

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = sorted(path.parent for path in REPOSITORY.glob("plugins/*/setup.py"))
TEXTS = ("*.md", "*.py", "*.toml", "*.yml", "*.yaml", "*.xml", "*.in", "Makefile", ".ci/run", "*.Dockerfile")
PAGE_OF_ALL = REPOSITORY / "docs" / "plugins.md"

each_plugin = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)


def files(*patterns: str) -> list[Path]:
    """Files of the repository that git knows."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (path := REPOSITORY / name).is_file()]


@each_plugin
def test_nothing_else_names_it(plugin: Path) -> None:
    """But the page that lists all plug-ins, and the history."""
    word = re.compile(rf"\b{plugin.name}\b")
    others = [path for path in files(*TEXTS) if not path.is_relative_to(plugin) and path != PAGE_OF_ALL]
    assert [path for path in others if word.search(path.read_text(encoding="utf-8"))] == []


@each_plugin
def test_it_imports_public_names_alone(plugin: Path) -> None:
    private = [
        f"{path.relative_to(REPOSITORY)}: {node.module} {alias.name}"
        for path in plugin.glob(f"{plugin.name}/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("visloc_ros")
        for alias in node.names
        if any(re.match("_(?!_)", part) for part in (*node.module.split("."), alias.name))
    ]
    assert private == []


@each_plugin
def test_it_imports_what_is_installed_with_it(plugin: Path) -> None:
    paths = plugin.glob(f"{plugin.name}/**/*.py")
    tops = {item.top for path in paths for item in imports_of(path, REPOSITORY)}
    assert not tops & {"benchmarks", "testing", "plugins", *(other.name for other in PLUGINS if other != plugin)}


def test_programs_import_each_other_from_where_they_are() -> None:
    """Type checkers find a program of a plug-in below another name, too."""
    tops = ("benchmarks", "testing", "plugins")
    missing = [
        f"{path.relative_to(REPOSITORY)}:{item.line}: {item.module}"
        for path in files("*.py")
        for item in imports_of(path, REPOSITORY)
        if item.top in tops and not is_module(REPOSITORY / item.module.replace(".", "/"))
    ]
    assert missing == []


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or path.is_dir()


WITHOUT = """
import importlib.metadata, sys

hidden = {names!r}

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refusing())
installed = importlib.metadata.entry_points
def others(**wanted):
    found = installed(**wanted)
    if "group" not in wanted:
        return found
    return importlib.metadata.EntryPoints(one for one in found if one.value.partition(".")[0] not in hidden)
importlib.metadata.entry_points = others
"""
COMMANDS = """
from typer.testing import CliRunner
from visloc_ros.apps.cli import app
for words in (["--help"], ["fetch-weights", "--list"], ["track", "--help"], ["doctor", "--help"]):
    ended = CliRunner().invoke(app, words)
    print(ended.output)
    assert ended.exit_code == 0, (words, ended.output, ended.exception)
"""
COLLECTION = "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--collect-only', {folder!r}]))"
DOCS = "import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'test/test_repository/test_docs.py']))"


@pytest.fixture(scope="module")
def copy_without(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Path]], Path]:
    """Makes a copy of the repository without the folders of some plug-ins."""

    def copy(plugins: list[Path]) -> Path:
        target = tmp_path_factory.mktemp("copy")
        for path in files():
            if not any(path.is_relative_to(plugin) for plugin in plugins):
                name = target / path.relative_to(REPOSITORY)
                name.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, name)
        return target

    return copy


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def run_without(plugins: list[Path], program: str, cwd: Path) -> str:
    hidden = WITHOUT.format(names={plugin.name for plugin in plugins})
    return run(sys.executable, "-W", "error::ImportWarning", "-c", hidden + program, cwd=cwd)


@each_plugin
def test_everything_else_does_without_its_folder(plugin: Path, copy_without: Callable[[list[Path]], Path]) -> None:
    """In a copy, from which the folder is gone: style, pages, commands."""
    copy = copy_without([plugin])
    run(str(Path(sys.executable).with_name("ruff")), "check", cwd=copy)
    run_without([plugin], DOCS, copy)
    assert plugin.name not in run_without([plugin], COMMANDS, copy)


@each_plugin
def test_its_own_tests_do_without_the_others(plugin: Path) -> None:
    """What they import, and what they are made for each of."""
    folder = (plugin / "test").relative_to(REPOSITORY).as_posix()
    run_without([other for other in PLUGINS if other != plugin], COLLECTION.format(folder=folder), REPOSITORY)


@pytest.fixture(scope="module")
def core_alone(copy_without: Callable[[list[Path]], Path]) -> Path:
    """A copy from which the folders of all plug-ins are gone."""
    return copy_without(PLUGINS)


@pytest.mark.timeout(900)  # it reads all tests
def test_the_tests_of_the_core_do_without_any(core_alone: Path) -> None:
    """What they import, and what they are made for each of."""
    run_without(PLUGINS, COLLECTION.format(folder="test"), core_alone)


@pytest.mark.timeout(900)  # and without what was found out before
def test_the_types_of_the_core_are_right_without_any(core_alone: Path) -> None:
    run(str(Path(sys.executable).with_name("mypy")), "visloc_ros", "benchmarks", "testing", cwd=core_alone)


def test_the_commands_of_the_core_do_without_any(core_alone: Path) -> None:
    run_without(PLUGINS, COMMANDS, core_alone)
