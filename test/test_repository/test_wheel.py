"""What ``pip install`` gets: the package with what it needs, the demo map, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

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
    assert any(name.startswith("visloc_ros/server/page/") for name in names)


def test_it_asks_for_what_it_imports_and_for_ros_as_an_extra(metadata):
    wanted = metadata.get_all("Requires-Dist")
    plain = [one for one in wanted if "extra ==" not in one]
    assert {"torch", "pycolmap", "typer"} <= set(plain)
    assert not [one for one in plain if one.startswith("ros-")]
    assert [one for one in wanted if one.startswith("ros-jazzy-rclpy") and 'extra == "ros"' in one]
    assert set(metadata.get_all("Provides-Extra")) == {"ros", "rerun", "docs"}
