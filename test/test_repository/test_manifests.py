"""The package manifests keep ROS's rules (REP 149), and the public CI runs what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from catkin_pkg.package import parse_package

REPOSITORY = Path(__file__).resolve().parents[2]
WORKFLOW = REPOSITORY / ".github" / "workflows" / "ci.yml"


PACKAGES = [path.parent.relative_to(REPOSITORY).as_posix() for path in sorted(REPOSITORY.glob("plugins/*/package.xml"))]


@pytest.mark.parametrize("folder", [".", "visloc_msgs", *PACKAGES])
def test_a_manifest_keeps_the_rules(folder: str) -> None:
    warnings: list[str] = []
    package = parse_package(str(REPOSITORY / folder / "package.xml"), warnings=warnings)
    package.validate(warnings=warnings)
    assert warnings == []
    assert package.package_format == 3
    assert [author.name for author in package.authors] == ["visloc_ros contributors"]


def test_the_public_ci_runs_the_tests_on_every_python_that_the_readme_names() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    first, last = re.search(r"Python 3\.(\d+)-3\.(\d+)", (REPOSITORY / "README.md").read_text()).groups()
    expected = [f"3.{minor}" for minor in range(int(first), int(last) + 1)]
    assert jobs["test"]["strategy"]["matrix"]["python"] == expected
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {target for run in runs for target in re.findall(r"\bmake ([a-z]+)", run)}
    assert called
    assert called <= targets


def test_the_public_ci_builds_as_the_readme_says() -> None:
    build = "colcon build --base-paths . visloc_msgs plugins --build-base ../../build --install-base ../../install"
    assert build in WORKFLOW.read_text(encoding="utf-8")
    assert build in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_public_ci_needs_no_secret_and_may_write_nothing() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert "secrets" not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
