import re
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "visloc_server"
VERSION = re.search(r'^__version__ = "(.+)"$', Path(PACKAGE, "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)


def requirements():
    """What ``requirements.in`` names, without the comments."""
    lines = (line.split("#")[0].strip() for line in Path("requirements.in").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


setup(
    name=PACKAGE,
    version=VERSION.group(1),
    description="Localization over HTTP as a plug-in of visloc_ros",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="visloc_ros maintainers",
    maintainer_email="maintainers@visloc-ros.invalid",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["page/*", "page/three/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/config", ["config/remote_anchor_node.yaml"]),
    ],
    python_requires=">=3.10",
    install_requires=["visloc_ros", *requirements()],
    zip_safe=False,
    entry_points={
        "console_scripts": ["remote_anchor_node = visloc_server.nodes.remote_anchor_node:main"],
        "visloc_ros.nodes": ["remote_anchor = visloc_server.plugin:REMOTE_ANCHOR_NODE"],
        "visloc_ros.remote_search": [
            "http = visloc_server.plugin:REMOTE_ANCHOR_NODE",
            "https = visloc_server.plugin:REMOTE_ANCHOR_NODE",
        ],
        "visloc.commands": ["server = visloc_server.plugin:COMMANDS"],
    },
)
