import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "visloc_ros"
SHARED_FOLDERS = ("config", "foxglove", "launch", "maps", "rviz", "security", "urdf")
NODES = (
    "anchor_node",
    "fusion_node",
    "localization_node",
    "map_builder_node",
    "odometry_node",
    "replay_node",
    "simulated_camera_node",
    "viewer_node",
    "visloc_node",
)


def read_version():
    text = Path(PACKAGE, "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE).group(1)


def requirements(name):
    """What a file of requirements names, without the comments and the files that it includes."""
    lines = (line.split("#")[0].strip() for line in Path(name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-r")]


def shared_files():
    files = {}
    for folder in SHARED_FOLDERS:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files.setdefault(f"share/{PACKAGE}/{path.parent}", []).append(str(path))
    return list(files.items())


setup(
    name=PACKAGE,
    version=read_version(),
    description="Find one ordinary camera in a prebuilt map, at camera rate, with or without ROS 2",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="visloc_ros maintainers",
    maintainer_email="maintainers@visloc-ros.invalid",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={"": ["templates/*", "profiles/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/config", [f"{PACKAGE}/core/profiles/fastdds_large_images.xml"]),
        *shared_files(),
    ],
    python_requires=">=3.10",
    install_requires=requirements("requirements-runtime.in"),
    extras_require={
        "ros": requirements("requirements-ros.in"),
        "rerun": ["rerun-sdk"],
        "docs": ["mkdocs-material", "mkdocstrings-python"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "visloc = visloc_ros.apps.cli:main",
            *(f"{node} = visloc_ros.nodes.{node}:main" for node in NODES),
        ],
        # Another package adds a way of searching, or an odometry, by entry points of the same groups.
        "visloc_ros.search": [
            "retrieval = visloc_ros.localization.retrieval.strategy:RETRIEVAL_SEARCH",
        ],
        "visloc_ros.odometry": [
            "klt = visloc_ros.odometry.klt.backend:KLT",
        ],
    },
)
