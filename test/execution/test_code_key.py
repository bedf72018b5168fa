"""The key of code changes with all that a function can reach, and with nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

FILES = {
    "visloc_demo/__init__.py": """
from typing import TYPE_CHECKING
from visloc_ros.core.late_names import late_names
if TYPE_CHECKING:
    from visloc_demo.late import late
    from visloc_demo.other_late import other_late
__getattr__ = late_names(__name__, {"late": ("late",), "other_late": ("other_late",)})
""",
    "visloc_demo/stage.py": """
from visloc_demo.above import above
from visloc_demo import late
import importlib
import demo_library
BACKENDS, GROUP = "visloc_demo.backends", "visloc_demo.ways"
def work(arguments, inputs):
    from visloc_demo import inside
    importlib.import_module("demo_optional")
    return importlib.import_module(f"{BACKENDS}.{arguments}")
""",
    "visloc_demo/above.py": "import visloc_demo.deep\nabove = 1\n",
    "visloc_demo/deep.py": "import visloc_demo.stage\n",
    "visloc_demo/inside.py": "",
    "visloc_demo/late.py": "late = 1\n",
    "visloc_demo/other_late.py": "other_late = 1\n",
    "visloc_demo/backends/__init__.py": "",
    "visloc_demo/backends/one.py": "",
    "visloc_demo/backends/table.csv": "1\n",
    "visloc_demo/unused.py": "import visloc_demo.stage\n",
    "visloc_plugin/__init__.py": "",
    "visloc_plugin/way.py": "WAY = 1\n",
    "visloc_plugin-1.dist-info/METADATA": "Name: visloc_plugin\nVersion: 1\n",
    "visloc_plugin-1.dist-info/entry_points.txt": "[visloc_demo.ways]\none = visloc_plugin.way:WAY\n",
    "demo_library.py": "",
    "demo_library-1.dist-info/METADATA": "Name: demo_library\nVersion: 1\n",
    "demo_library-1.dist-info/top_level.txt": "demo_library\n",
}
ASK = """
import pickle, sys
from visloc_demo.stage import work
from visloc_ros.execution.code_key import code_of
given = bytes.fromhex(sys.argv[1])
print(code_of(work).key, pickle.dumps(code_of(work)).hex(), not given or pickle.loads(given).is_that_of(work))
"""


class Asked(NamedTuple):
    """What a process says: the key, its code as another one can compare it, and whether it has the code given."""

    key: str
    code: str
    is_same: bool


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def before(packages: Path) -> Asked:
    return ask(packages)


@pytest.fixture
def copied(packages: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages, tmp_path / "elsewhere"))


def ask(folder: Path, code: str = "") -> Asked:
    """The key in a process that finds the packages in this folder, and whether it has the code of another one."""
    places = os.pathsep.join((str(folder), *filter(None, sys.path)))
    environment = {**os.environ, "PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-c", ASK, code]
    said = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
    key, own, is_same = said.split()
    return Asked(key, own, is_same == "True")


def changes_text(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write("\nx = 1\n")

    return change


def upgrades_library(folder: Path) -> None:
    (folder / "demo_library-1.dist-info/METADATA").write_text("Name: demo_library\nVersion: 1.1\n")


def installs_another_commit(folder: Path) -> None:
    origin = '{"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    (folder / "demo_library-1.dist-info/direct_url.json").write_text(origin)


def installs_the_optional_package(folder: Path) -> None:
    (folder / "demo_optional.py").write_text("")
    information = folder / "demo_optional-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: demo_optional\nVersion: 1\n")
    (information / "top_level.txt").write_text("demo_optional\n")


REACHED = ("stage", "above", "deep", "inside", "late", "backends/one", "__init__")


@pytest.mark.parametrize(
    "change",
    [
        *(changes_text(f"visloc_demo/{name}.py") for name in REACHED),
        changes_text("visloc_demo/backends/table.csv"),
        changes_text("visloc_plugin/way.py"),
        upgrades_library,
        installs_another_commit,
        installs_the_optional_package,
    ],
    ids=[*REACHED, "data", "plug-in", "version", "commit", "new package"],
)
def test_code_or_packages_that_are_reached_change_the_key(
    copied: Path, before: Asked, change: Callable[[Path], None]
) -> None:
    change(copied)
    after = ask(copied, before.code)
    assert (after.key != before.key, after.is_same) == (True, False)


def test_what_is_not_reached_does_not(copied: Path, before: Asked) -> None:
    for name in ("visloc_demo/other_late.py", "visloc_demo/unused.py"):
        changes_text(name)(copied)
    after = ask(copied, before.code)
    assert (after.key, after.is_same) == (before.key, True)
