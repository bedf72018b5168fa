import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "visloc_dpvo"
VERSION = re.search(r'^__version__ = "(.+)"$', Path(PACKAGE, "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)

setup(
    name=PACKAGE,
    version=VERSION.group(1),
    description="Deep patch visual odometry as a plug-in of visloc_ros",
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
    install_requires=["visloc_ros", "torch"],
    zip_safe=False,
    entry_points={
        "visloc_ros.odometry": ["dpvo = visloc_dpvo.backend:DPVO"],
        "visloc_ros.weights": ["dpvo = visloc_dpvo.weights_files:WEIGHTS"],
        "visloc.commands": ["dpvo = visloc_dpvo.commands:COMMANDS"],
    },
)
