"""The programs of LBR by their names: the steps of a benchmark by instances, each alone."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from benchmark_trees import write_lbr_aachen, write_lbr_robotcar
from typer.testing import CliRunner

from visloc_field import command_lbr
from visloc_ros.apps import cli
from visloc_ros.core.errors import ConfigError

PAGE, APP = Path(__file__).parents[1] / "README.md", cli.app


def visloc(*words):
    return CliRunner().invoke(APP, [str(word) for word in words])


def succeed(*words):
    done = visloc(*words)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture
def asked(monkeypatch):
    """Arguments of each benchmark asked for."""
    calls = []
    monkeypatch.setattr(command_lbr, "run_benchmark", lambda *words: calls.append(words))
    return calls


OF_LBR = [
    *(
        f"{program}_{name}"
        for program in ("run_reconstruct", "train", "test", "run_loc")
        for name in ("aachen", "robotcar")
    ),
    "run_loc_aachn",
]


@pytest.fixture
def steps(monkeypatch):
    """Steps that LBR's programs take: names of scenes and folders of maps."""
    taken = []

    def build(scenes, folder, options, progress):
        taken.append(("map", [scene.name for scene in scenes]))
        return [folder / "maps" / scene.name for scene in scenes]

    def prepare(scenes, maps, search, options, progress):
        taken.append(("prepare", search, maps))

    monkeypatch.setattr(command_lbr, "build_maps", build)
    monkeypatch.setattr(command_lbr, "prepare_scenes", prepare)
    monkeypatch.setattr(command_lbr, "read_manifest", lambda path: SimpleNamespace(counts={"images": 3}))
    monkeypatch.setattr(command_lbr, "find_strategy", lambda name: None)
    monkeypatch.setattr(cli, "app", lambda words, standalone_mode: taken.append(words))
    return taken


def test_lbrs_steps_are_those_of_a_benchmark(tmp_path, monkeypatch, steps, asked):
    monkeypatch.chdir(tmp_path)
    write_lbr_aachen(tmp_path / "data")
    place = Path("out/lbr_aachen/maps/aachen")
    assert f"{place}: 3 images" in succeed("run_reconstruct_aachen", "data").output
    assert steps == [("map", ["aachen"])]
    assert f"{place}: prepared for 'instances'" in succeed("train_aachen", "data").output
    assert steps[1:] == [steps[0], ("prepare", "instances", [place])]
    del steps[:]
    succeed("test_aachen", "data", "-o", "mine")
    images = [f"data/images/query/{name}" for name in ("day/nexus4/4.jpg", "night/nexus5x/5.jpg")]
    assert steps[2] == ["instances", "mine/maps/aachen", *images, "--output", "mine/instances"]
    for program in ("run_loc_aachn", "run-loc-aachen"):
        succeed(program, "data")
        assert asked.pop()[:4] == ("aachen", Path("data"), Path("out/lbr_aachen"), ["instances"])


def test_lbr_takes_the_rear_camera_of_robotcar(tmp_path, steps, asked):
    write_lbr_robotcar(tmp_path)
    succeed("run_loc_robotcar", tmp_path, "-o", tmp_path / "out")
    assert asked[0][5] == ["rear"]
    succeed("train_robotcar", tmp_path, "-o", tmp_path / "out")
    assert steps == [("map", ["rear"]), ("prepare", "instances", [tmp_path / "out" / "maps" / "rear"])]


@pytest.mark.parametrize("program", OF_LBR)
def test_every_program_of_lbr_is_described_and_refuses_what_is_no_data_set(tmp_path, steps, asked, program):
    assert f"`{program}`" in PAGE.read_text()
    shown = succeed(program, "--help").output
    assert "--output" in shown
    if "run_loc" not in program:
        assert "name the folder of" in str(visloc(program, tmp_path).exception)


def test_without_the_search_nothing_is_built(tmp_path, monkeypatch):
    def unknown(name):
        raise ConfigError(f"no package provides the visloc_ros.search '{name}'")

    monkeypatch.setattr(command_lbr, "find_strategy", unknown)
    write_lbr_aachen(tmp_path / "data")
    for program in ("train_aachen", "test_aachen", "run_loc_aachn"):
        refused = visloc(program, tmp_path / "data", "-o", tmp_path / "out")
        assert "no package provides" in str(refused.exception)
        assert not (tmp_path / "out").exists()
