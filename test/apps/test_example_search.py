"""The example of a way of searching is a package: once it is installed, the commands know it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from visloc_ros.simulation import SimulationConfig, simulate, write_folder

ROOT = Path(__file__).resolve().parents[2]
DEMO_MAP = ROOT / "maps" / "demo_room.tar.gz"


@pytest.fixture(scope="module")
def visloc(tmp_path_factory):
    """A call of a command where the example is installed, beside what is installed here."""
    site, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(ROOT / "examples" / "whole_map_search", source)  # building leaves files there
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([sys.executable, *command, str(source)], check=True, timeout=120)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}

    def call(*arguments):
        command = [sys.executable, "-m", "visloc_ros.apps.cli", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)

    return call


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording") / "room"
    write_folder(simulate(SimulationConfig(duration_s=3.0, rate_hz=2.0, samples=1), "localize"), folder)
    return folder


def test_its_images_are_found_and_compared_with_those_of_retrieval(visloc, room):
    compared = visloc("compare", DEMO_MAP, room, "--search", "retrieval,whole_map", "--json")
    assert compared.returncode == 0, compared.stderr
    figures = json.loads(compared.stdout)
    assert list(figures) == ["retrieval", "whole_map"]
    assert figures["whole_map"]["found"] == figures["whole_map"]["images"] == 6
    assert figures["whole_map"]["position_m"] < 0.02


def test_it_is_among_the_ways_that_a_map_as_it_is_built_can_be_searched(visloc, room):
    figures = json.loads(visloc("compare", DEMO_MAP, room, "--json").stdout)
    assert list(figures) == ["retrieval", "whole_map"]


def test_its_options_are_read_beside_the_others(visloc, room, tmp_path):
    (tmp_path / "strict.yaml").write_text("whole_map: {min_similarity: 1.0}\nmin_matches: 20\n")
    config = ("--config", tmp_path / "strict.yaml")
    strict = visloc("compare", DEMO_MAP, room, "--search", "whole_map", "--json", *config)
    assert json.loads(strict.stdout)["whole_map"]["found"] == 0
    (tmp_path / "misspelt.yaml").write_text("whole_map: {min_similarty: 0.5}\n")
    misspelt = visloc("compare", DEMO_MAP, room, "--search", "whole_map", "--config", tmp_path / "misspelt.yaml")
    assert misspelt.returncode != 0
    assert "did you mean 'min_similarity'?" in " ".join(misspelt.stderr.split())


def test_there_is_nothing_to_prepare_for_it(visloc):
    refused = visloc("prepare", DEMO_MAP, "--for", "whole_map")
    assert refused.returncode != 0
    assert "nothing to prepare" in " ".join(refused.stderr.split())
