"""Images, their services and the units of systemd: what they start is there, and they may do no more than they need."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
import typer
import yaml

from visloc_ros.apps.cli import app

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = (REPOSITORY, *sorted((REPOSITORY / "plugins").glob("*")))
CONTAINERS, UNITS = REPOSITORY / "containers", [unit for place in PLACES for unit in place.glob("systemd/*.service")]
IMAGES = sorted(CONTAINERS.glob("*.Dockerfile"))
COMPOSED = {
    path.parent: yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    for place in PLACES
    for path in place.glob("containers/compose.yaml")
}
SERVICES = {name: (folder, one) for folder, services in COMPOSED.items() for name, one in services.items()}
MOST_EXPOSED = 20  # of 100, as systemd counts; a service without any confinement has 96

of_each_image = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.stem)
of_each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
of_each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def instructions(image: Path) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with what follows it, continued lines joined."""
    lines = [line for line in image.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in joined if line]


def final_stage(image: Path) -> dict[str, str]:
    """The last of each instruction in the stage that becomes the image."""
    found = instructions(image)
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[start:])


def copied(image: Path) -> Iterator[str]:
    """What is copied from the checkout."""
    for name, rest in instructions(image):
        if name == "COPY" and not rest.startswith("--from"):
            yield from rest.split()[:-1]


def is_sent(name: str) -> bool:
    """Whether .dockerignore lets a path of the checkout into a build: the last line that fits decides."""
    path, sent = PurePosixPath(name), True
    for line in (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.parts if "**/" in line else [str(one) for one in (path, *path.parents)]
        if line and line[0] != "#" and any(fnmatch(part, pattern) for part in parts):
            sent = line.startswith("!")
    return sent


def options_of_visloc(words: Sequence[str]) -> dict[str, object]:
    """What a command line of visloc means, without running it. Raises for one that is wrong."""
    group = typer.main.get_command(app)
    command = group.get_command(group.make_context("visloc", [words[0]]), words[0]).load()
    return command.make_context(words[0], list(words[1:])).params


def undeclared(words: Sequence[str]) -> list[str]:
    """Of ``name:=value`` those that visloc.launch.py does not take."""
    texts = [REPOSITORY / "launch" / "visloc.launch.py", REPOSITORY / "visloc_ros" / "nodes" / "launching.py"]
    declared = "".join(text.read_text(encoding="utf-8") for text in texts)
    return [word for word in words if f'"{word.partition(":=")[0]}": ' not in declared]


def settings(unit: Path) -> dict[str, list[str]]:
    """The settings of a unit; each may stand there more than once."""
    lines = re.sub(r"\\\n\s*", "", unit.read_text(encoding="utf-8")).splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def systemd_judges() -> bool:
    """Whether this computer's systemd tells how exposed a unit is that is not installed."""
    if shutil.which("systemd-analyze") is None:
        return False
    version = subprocess.check_output(["systemd-analyze", "--version"], text=True)
    return int(re.search(r"\d+", version).group()) >= 250


def run(*command: str | Path) -> None:
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


@of_each_image
def test_the_rules_of_hadolint_are_kept(image: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed beside this Python; 'make setup' brings it")
    run(hadolint, image)


@of_each_image
def test_an_image_is_named_by_a_tag_runs_as_nobody_and_reports_its_health(image: Path) -> None:
    bases = [rest.split()[0] for name, rest in instructions(image) if name == "FROM"]
    assert all(re.fullmatch(r"[a-z./]+:[\w${}.-]+", base) for base in bases)
    stage = final_stage(image)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage["USER"])
    if "HEALTHCHECK" in stage:
        assert all(isinstance(word, str) for word in json.loads(stage["HEALTHCHECK"].partition(" CMD ")[2]))
    else:  # what it serves, its services say
        services = [one for _, one in SERVICES.values() if one["build"]["dockerfile"].endswith(image.name)]
        assert all("healthcheck" in one for one in services)
    assert "org.opencontainers.image.licenses" in stage["LABEL"]


@of_each_image
def test_what_is_copied_is_there_and_sent(image: Path) -> None:
    names = [name for name in copied(image) if name != "."]
    assert names
    assert [name for name in names if not (REPOSITORY / name).exists() or not is_sent(name)] == []


def test_a_build_gets_all_that_setup_installs_and_no_secrets_nor_other_maps() -> None:
    folders = re.search(r"^SHARED_FOLDERS = \((.*)\)$", (REPOSITORY / "setup.py").read_text(), re.MULTILINE).group(1)
    files = [path for one in re.findall(r'"(\w+)"', folders) for path in (REPOSITORY / one).iterdir() if path.is_file()]
    names = [path.relative_to(REPOSITORY).as_posix() for path in files if path.suffix != ".md"]
    requirements_of_plugins = [
        path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("plugins/*/requirements.in")
    ]
    needed = [*names, "setup.cfg", "resource/visloc_ros", "visloc_msgs/package.xml", *requirements_of_plugins]
    assert [name for name in needed if not is_sent(name)] == []
    unwanted = ["token", ".git/config", ".venv/bin/python", "maps/office/manifest.json", "containers/.env"]
    assert [name for name in [*unwanted, "visloc_ros/core/__pycache__/map.pyc"] if is_sent(name)] == []


def test_the_robot_starts_by_a_real_launch_file_with_arguments_that_it_takes() -> None:
    *_, file = json.loads(final_stage(CONTAINERS / "robot.Dockerfile")["ENTRYPOINT"])
    assert (REPOSITORY / "launch" / file).is_file()
    assert undeclared(COMPOSED[CONTAINERS]["robot"]["command"]) == []
    assert undeclared(["map_pth:=/maps/office"]) == ["map_pth:=/maps/office"]


@of_each_service
def test_a_service_is_confined_and_comes_again(service: tuple[Path, dict[str, object]]) -> None:
    folder, service = service
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert service["restart"] == "unless-stopped"
    build = service["build"]
    file = folder / build["context"] / build["dockerfile"]
    assert set(build["args"]) <= {rest.split("=")[0] for name, rest in instructions(file) if name == "ARG"}
    assert service["profiles"]  # so that nothing starts that nobody named


@of_each_unit
def test_a_unit_starts_what_is_there(unit: Path) -> None:
    (line,) = settings(unit)["ExecStart"]
    words = shlex.split(line)
    if words[0] == "/bin/bash":
        words = words[2].partition("visloc.launch.py")[2].split()
        assert words
        assert undeclared(words) == []
    else:
        options = options_of_visloc(words[1:])
        credential = settings(unit)["LoadCredential"][0].partition(":")[0]
        assert str(options["token_file"]) == f"${{CREDENTIALS_DIRECTORY}}/{credential}"


@of_each_unit
def test_a_unit_is_confined_and_comes_again(unit: Path) -> None:
    found = settings(unit)
    assert "DynamicUser" in found or found["User"] != ["root"]
    assert found["Restart"] == ["on-failure"]
    assert "MemoryMax" in found
    if not systemd_judges():
        pytest.skip("there is no systemd-analyze of systemd 250 or newer")
    run("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", unit)
