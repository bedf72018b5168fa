"""The example of a way of searching is a package: once it is installed, the commands know it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from visloc_command import DEMO_MAP, ROOT

from visloc_ros.simulation import SimulationConfig, simulate, write_folder

# A program that is given lists of words, and tells of each how the command ended, what it wrote, and its error.
COMMANDS = """
import json, sys
from typer.testing import CliRunner
from visloc_ros.apps.cli import app
ended = [CliRunner().invoke(app, words) for words in json.load(sys.stdin)]
json.dump([[one.exit_code, one.stdout, str(one.exception)] for one in ended], sys.stdout)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a process where the example is installed, beside what is installed here."""
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(ROOT / "examples" / "whole_map_search", source)  # building leaves files there
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, *command, str(source)], check=True, timeout=120)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture(scope="module")
def answers(environment, tmp_path_factory):
    """Exit code, output and error of each command."""
    folder = tmp_path_factory.mktemp("recording")
    room, strict, misspelt = folder / "room", folder / "strict.yaml", folder / "misspelt.yaml"
    write_folder(simulate(SimulationConfig(duration_s=1.5, rate_hz=2.0, samples=1), "localize"), room)
    strict.write_text("whole_map: {min_similarity: 1.0}\nmin_matches: 20\n")
    misspelt.write_text("whole_map: {min_similarty: 0.5}\n")
    commands = {
        "compare": ("compare", DEMO_MAP, room, "--json"),
        "strict": ("compare", DEMO_MAP, room, "--search", "whole_map", "--json", "--config", strict),
        "misspelt": ("compare", DEMO_MAP, room, "--search", "whole_map", "--config", misspelt),
        "prepare": ("prepare", DEMO_MAP, "--for", "whole_map"),
    }
    asked = json.dumps([[str(word) for word in words] for words in commands.values()])
    program = [sys.executable, "-c", COMMANDS]
    ended = subprocess.run(
        program, input=asked, env=environment, stdout=subprocess.PIPE, text=True, timeout=200, check=True
    )
    return dict(zip(commands, json.loads(ended.stdout), strict=True))


def test_it_is_compared_with_retrieval_as_one_of_the_ways_to_search_a_map_as_it_is_built(answers):
    code, told, error = answers["compare"]
    assert code == 0, error
    figures = json.loads(told)
    assert list(figures) == ["retrieval", "whole_map"]
    assert figures["whole_map"]["found"] == figures["whole_map"]["images"] == 3
    assert figures["whole_map"]["position_m"] < 0.02


def test_its_options_are_read_beside_the_others(answers):
    assert json.loads(answers["strict"][1])["whole_map"]["found"] == 0
    code, _, error = answers["misspelt"]
    assert code != 0
    assert "did you mean 'min_similarity'?" in error


def test_there_is_nothing_to_prepare_for_it(answers):
    code, _, error = answers["prepare"]
    assert code != 0
    assert "nothing to prepare" in error
