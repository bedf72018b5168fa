"""What the pages for robots name is there: topics, services, nodes, parameters, launch arguments, enclaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [*sorted((REPOSITORY / "docs").glob("with_*.md")), REPOSITORY / "docs" / "on_a_robot.md"]
INTERFACE = (REPOSITORY / "docs" / "ros_interface.md").read_text(encoding="utf-8")
NODES = {path.stem for path in (REPOSITORY / "config").glob("*.yaml")}
SWITCHES = re.compile(r"`(publish_\w+_tf|tf_publish_rate|transform_tolerance|loss_policy|fusion\.[\w.]+|maps_folder)\b")

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def offered() -> set[str]:
    """Topics, services and actions by their names in the tables of the interface's page."""
    return {name.removesuffix(" (action)") for name in re.findall(r"^\| `([^`]+)` \|", INTERFACE, re.MULTILINE)}


def enclaves() -> set[str]:
    return set(re.findall(r'path="/visloc/(\w+)"', text_of(REPOSITORY / "security" / "visloc.policy.xml")))


def parameters(node: str) -> set[str]:
    return set(yaml.safe_load(text_of(REPOSITORY / "config" / f"{node}.yaml"))[f"/**/{node}"]["ros__parameters"])


def blocks(page: Path) -> Iterator[dict[str, object]]:
    """The YAML blocks of a page."""
    for block in re.findall(r"^```yaml\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        yield yaml.safe_load(block)


def test_names_below_the_namespace_are_offered(page: Path) -> None:
    named = set(re.findall(r"(?<![\w<>/])/visloc/([\w/]+\w)", text_of(page)))
    lifecycle = {f"{node}/{service}" for node in NODES for service in ("change_state", "get_state")}
    assert sorted(named - offered() - NODES - enclaves() - lifecycle) == []


def test_parameters_of_our_nodes_are_real(page: Path) -> None:
    for block in blocks(page):
        for name, section in block.items():
            node = name.removeprefix("/**/")
            if node in NODES:
                assert set(section["ros__parameters"]) <= parameters(node)
    everywhere = {name for node in NODES for name in parameters(node)}
    assert {name for name in SWITCHES.findall(text_of(page)) if name not in everywhere} == set()


def declared_in(file: str) -> str:
    """Text of a launch file with all that it takes arguments from."""
    text = text_of(REPOSITORY / "launch" / file)
    included = [declared_in(one) for one in re.findall(r'include\(\s*"(\S+)"', text)]
    return "".join([text, *included, text_of(REPOSITORY / "visloc_ros" / "nodes" / "launching.py")])


def test_arguments_of_launch_files_are_real(page: Path) -> None:
    lines = re.sub(r"\\\n\s*", "", text_of(page)).splitlines()
    for line in lines:
        launched = re.search(r"ros2 launch visloc_ros (\w+\.launch\.py)(.*)", line)
        if launched:
            declared = declared_in(launched.group(1))
            assert [name for name in re.findall(r"(\w+):=", launched.group(2)) if f'"{name}"' not in declared] == []


def test_nodes_that_nav2_manages_are_nodes(page: Path) -> None:
    managed = re.findall(r"node_names: \[(.*?)\]", text_of(page))
    names = {name.strip().removeprefix("visloc/") for one in managed for name in one.split(",")}
    assert names <= NODES
