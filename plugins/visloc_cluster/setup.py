import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "visloc_cluster"
VERSION = re.search(r'^__version__ = "(.+)"$', Path(PACKAGE, "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)


def requirements():
    """What ``requirements.in`` names, without the comments."""
    lines = (line.split("#")[0].strip() for line in Path("requirements.in").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


setup(
    name=PACKAGE,
    version=VERSION.group(1),
    description="Large maps in parts, and work on many computers, as a plug-in of visloc_ros",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="visloc_ros maintainers",
    maintainer_email="maintainers@visloc-ros.invalid",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
    ],
    python_requires=">=3.10",
    install_requires=["visloc_ros", *requirements()],
    zip_safe=False,
    entry_points={
        "visloc_ros.engines": ["ray = visloc_cluster.ray_engine:RayEngine"],
        "visloc_ros.large_maps": ["blocks = visloc_cluster.mapping.builder:build_large_map"],
    },
)
