"""What ``pip install`` gets: the package with what it needs, the demo map, and nothing else; the interfaces."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from visloc_ros import __version__

ROOT = Path(__file__).resolve().parents[2]
LARGEST_MB = 6.0
NOT_BUILT_FROM = ("test", "benchmarks", "results", "out", ".*", "build", "install", "log", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NOT_BUILT_FROM))
    command = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, *command, str(folder / "source")], check=True, timeout=200)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"visloc_ros-{__version__}.dist-info/METADATA").decode())


def test_an_index_would_take_it(wheel):
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel)], check=True, timeout=60)


def test_it_is_small_and_holds_the_package_with_its_data_alone(wheel):
    assert wheel.stat().st_size < LARGEST_MB * 1e6
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"visloc_ros", f"visloc_ros-{__version__}.dist-info", f"visloc_ros-{__version__}.data"}
    assert not [name for name in names if "/test" in name or "conftest" in name]
    for suffix in ("visloc_ros/core/profiles/fastdds_large_images.xml", "share/visloc_ros/maps/demo_room.tar.gz"):
        assert [name for name in names if name.endswith(suffix)], suffix


def test_it_asks_for_what_it_imports_and_for_ros_as_an_extra(metadata):
    wanted = metadata.get_all("Requires-Dist")
    plain = [one for one in wanted if "extra ==" not in one]
    assert {"torch", "pycolmap", "typer"} <= set(plain)
    assert not [one for one in plain if one.startswith("ros-")]
    assert [one for one in wanted if one.startswith("ros-jazzy-rclpy") and 'extra == "ros"' in one]
    assert set(metadata.get_all("Provides-Extra")) == {"ros", "rerun", "docs"}


@pytest.fixture(scope="module")
def interfaces() -> ModuleType:
    """The backend that builds visloc_msgs, as a module."""
    spec = importlib.util.spec_from_file_location("build_wheel", ROOT / "visloc_msgs" / "build_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_interfaces_come_to_where_the_wheels_of_ros_have_theirs(interfaces, tmp_path):
    installed = tmp_path / "installed"
    for name in ("python/tf2_msgs/msg/__init__.py", "python/tf2_msgs-0.egg-info/PKG-INFO", "lib/libtf2_msgs.so"):
        (installed / name).parent.mkdir(parents=True)
        (installed / name).write_text(name, encoding="utf-8")
    interfaces.write_wheel(tmp_path / "interfaces.whl", installed)
    name = f"visloc_msgs-{__version__}"
    with zipfile.ZipFile(tmp_path / "interfaces.whl") as archive:
        files = {file: archive.read(file).decode() for file in archive.namelist()}
    information = {f"{name}.dist-info/{file}" for file in ("METADATA", "WHEEL", "RECORD")}
    assert set(files) - information == {"tf2_msgs/msg/__init__.py", f"{name}.data/data/lib/libtf2_msgs.so"}
    assert {line.split(",")[0] for line in files[f"{name}.dist-info/RECORD"].splitlines()} == set(files)


def test_pip_installs_what_builds_the_interfaces(interfaces):
    assert {"cmake<4", "empy==3.3.4", "ros-jazzy-rclpy[fastrtps]"} <= set(interfaces.get_requires_for_build_wheel())


def test_cmake_files_are_mended_without_touching_the_cache_behind_them(interfaces, tmp_path):
    python = "/opt/python/cp311-cp311"
    built = f'"{python}/include/python3.11;{python}/lib/python3.11/site-packages/numpy/_core/include"'
    cached, installed = tmp_path / "cached", tmp_path / "share" / "std_msgs" / "cmake" / "someExport.cmake"
    installed.parent.mkdir(parents=True)
    cached.write_text(built, encoding="utf-8")
    os.link(cached, installed)
    for _ in range(2):
        interfaces.name_this_python_in_cmake_files(tmp_path)
        assert installed.read_text(encoding="utf-8") == f'"{sysconfig.get_path("include")};{np.get_include()}"'
    assert cached.read_text(encoding="utf-8") == built


def test_a_machine_without_a_compiler_is_refused_with_what_to_install(interfaces, monkeypatch):
    monkeypatch.setattr(interfaces.shutil, "which", lambda _program: None)
    with pytest.raises(RuntimeError, match=r"sudo apt-get install g\+\+ python3\.\d+-dev$"):
        interfaces.check_system()
