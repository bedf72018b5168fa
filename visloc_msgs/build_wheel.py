"""Builds the wheel of visloc_msgs, for environments that have ROS 2 as wheels: a backend of pip (PEP 517).

The wheel brings tf2_msgs, too, which no other wheel does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
PACKAGES = (SOURCE, SOURCE / "tf2_msgs")
VERSION = ElementTree.parse(SOURCE / "package.xml").findtext("version")
NAME = f"visloc_msgs-{VERSION}"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
PLATFORM = re.sub(r"\W", "_", sysconfig.get_platform())

METADATA = f"""Metadata-Version: 2.1
Name: visloc_msgs
Version: {VERSION}
Summary: Messages, services and actions of visloc_ros
License: Apache-2.0
Requires-Dist: ros-jazzy-rclpy[fastrtps]
Requires-Dist: ros-jazzy-geometry-msgs
Requires-Dist: ros-jazzy-sensor-msgs
"""
WHEEL = f"""Wheel-Version: 1.0
Generator: visloc_msgs
Root-Is-Purelib: false
Tag: {TAG}-{TAG}-{PLATFORM}
"""


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    """Name the packages that pip installs for the build."""
    lines = (SOURCE / "requirements-build.in").read_text(encoding="utf-8").splitlines()
    return [line for line in (line.split("#")[0].strip() for line in lines) if line]


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    """Generate and compile the interfaces and write them as a wheel; return its name."""
    check_system()
    prefix = Path(find_spec("rosidl_cmake").origin).parents[4]  # where the wheels of ROS are installed
    name_this_python_in_cmake_files(prefix)
    wheel = f"{NAME}-{TAG}-{TAG}-{PLATFORM}.whl"
    with tempfile.TemporaryDirectory() as folder:
        installed = Path(folder, "installed")
        builds = [Path(folder, package.name) for package in PACKAGES]
        with ThreadPoolExecutor() as pool:  # CMake itself takes one processor
            list(pool.map(compile_package, PACKAGES, builds, repeat(installed), repeat(prefix)))
        write_wheel(Path(wheel_directory, wheel), installed)
    return wheel


def check_system() -> None:
    """Refuse a machine without a compiler or Python's header files, naming the Debian packages that bring them."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None or not headers.is_file():
        packages = f"g++ python3.{sys.version_info.minor}-dev"
        raise RuntimeError(f"a C++ compiler and Python's header files are needed: sudo apt-get install {packages}")


def name_this_python_in_cmake_files(prefix: Path) -> None:
    """Replace the include folders of the Python that the ROS wheels were built with by those of this one.

    The files may be hard links into a cache: each is replaced as a whole, never written in place.
    """
    import numpy  # only here: pip asks for the requirements before it is installed

    for path in prefix.glob("share/*/cmake/*Export.cmake"):
        text = path.read_text(encoding="utf-8")
        mended = re.sub(r'/opt/python/[^";]*/numpy/_?core/include', numpy.get_include(), text)
        mended = re.sub(r'/opt/python/[^";]*/include/python[^";]*', sysconfig.get_path("include"), mended)
        if mended != text:
            replacement = path.with_suffix(".new")
            replacement.write_text(mended, encoding="utf-8")
            replacement.replace(path)


def compile_package(source: Path, build: Path, installed: Path, prefix: Path) -> None:
    """Run CMake on an interface package; its Python modules come into the folder ``python`` of what is installed."""
    path = f"{prefix / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "AMENT_PREFIX_PATH": str(prefix), "CMAKE_PREFIX_PATH": str(prefix), "PATH": path}
    options = {
        "BUILD_TESTING": "OFF",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_INSTALL_PREFIX": installed,
        "COMPILE_TOGETHER": "ON",
        "Python3_EXECUTABLE": sys.executable,
        "PYTHON_INSTALL_DIR": "python",
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    for step in (
        ["-GNinja", "-S", source, "-B", build, *definitions],
        ["--build", build],
        ["--install", build, "--strip"],
    ):
        subprocess.run(["cmake", *step], check=True, env=environment)


def write_wheel(path: Path, installed: Path) -> None:
    """Write the installed files, the Python modules at the top and all others below the environment's prefix."""
    contents = {f"{NAME}.dist-info/METADATA": METADATA.encode(), f"{NAME}.dist-info/WHEEL": WHEEL.encode()}
    for file in sorted(file for file in installed.rglob("*") if file.is_file()):
        place = file.relative_to(installed)
        if place.parts[0] != "python":
            contents[f"{NAME}.data/data/{place}"] = file.read_bytes()
        elif not place.parts[1].endswith(".egg-info"):
            contents[f"{place.relative_to('python')}"] = file.read_bytes()
    record = f"{NAME}.dist-info/RECORD"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        lines = [f"{record},,"]
        for name, content in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            lines.append(f"{name},sha256={digest},{len(content)}")
            archive.writestr(name, content)
        archive.writestr(record, "\n".join(lines) + "\n")
