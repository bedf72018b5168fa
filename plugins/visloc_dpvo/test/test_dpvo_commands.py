"""The commands with the odometry ``dpvo``, and the programs of other tools that are named after it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import typer
from visloc_command import DEMO_MAP, succeed, visloc

from visloc_dpvo.commands import COMMANDS
from visloc_dpvo.network import PatchNetwork
from visloc_ros.apps.cli import app
from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.features.fetching import find_entries
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

PAGE = Path(__file__).resolve().parents[1] / "README.md"
SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=3.0, rate_hz=15.0, samples=1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Three seconds of a walk through the simulated room, small images, with truth."""
    folder = tmp_path_factory.mktemp("films") / "walk"
    write_folder(simulate(SMALL, "localize"), folder)
    return folder


@pytest.fixture
def place(recording, tmp_path, monkeypatch):
    """A folder as those tools have it: a video, and a scene with its packed map."""
    monkeypatch.chdir(tmp_path)
    scene = Path("data/hloc_reference/room")
    scene.mkdir(parents=True)
    shutil.copy(DEMO_MAP, scene / "reference.tar.gz")
    shutil.copytree(recording, "walk")
    return tmp_path


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
    """Weights of random numbers where the official ones are searched, and options that are quick without a GPU."""
    torch.manual_seed(0)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(PatchNetwork().state_dict(), tmp_path / "hub" / "checkpoints" / "dpvo.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    quick = "dpvo: {preset: cpu, patches_per_frame: 8}"
    Path("track.yaml").write_text(quick)
    Path("run.yaml").write_text(f"odometry: {{{quick}}}")


@pytest.mark.parametrize("name", COMMANDS.aliases)
def test_an_alias_is_a_command_with_options_that_it_has_and_is_on_the_page(name):
    command = typer.main.get_command(app).get_command(None, name.replace("-", "_")).load()
    assert COMMANDS.aliases[name].defaults.keys() <= {parameter.name for parameter in command.params}
    assert f" {name} " not in visloc("--help").stdout
    assert f"`backend.{name.replace('-', '_')}" in PAGE.read_text(encoding="utf-8")


def test_another_odometry_may_be_named(place):
    done = succeed("benchmark-dpvo", "--video", "walk", "--fps", 15, "--max-frames", 3, "--backend", "klt")
    assert all(word in done.output for word in ("init, once", "preprocess", "inference", "finalize, once"))
    words = ("dpvo-app", "--video-path", "walk", "--reference-path", "room", "--max-frames", 4)
    done = succeed(*words, "--backend", "klt", "--json")
    assert json.loads(done.stdout)["frames"] == 4
    assert Path("out/dpvo_app/summary.json").is_file()


@pytest.mark.parametrize("words", [("dpvo-app", "--reference", "room"), ("benchmark-dpvo",)])
def test_programs_named_after_it_run_it(place, monkeypatch, words):
    monkeypatch.setenv("TORCH_HOME", str(place))
    assert "visloc fetch-weights dpvo" in str(visloc(*words, "--video", "walk").exception)


def test_programs_named_after_it_run_it_with_its_weights(place, random_weights):
    done = succeed("benchmark-dpvo", "--video", "walk", "--config", "track.yaml", "--max-frames", 4, "--json")
    figures = json.loads(done.stdout)
    assert (figures["backend"], figures["frames"]) == ("dpvo", 4)
    assert figures["timings"]["inference_ms"]["p50"] > 0
    words = ("--video", "walk", "--reference", "room", "--config", "run.yaml", "--max-frames", 4)
    assert json.loads(succeed("dpvo-app", *words, "--json").stdout)["frames"] == 4


def test_the_benchmark_takes_as_many_frames_as_that_tool_does():
    shown = visloc("benchmark-dpvo", "--help").stdout
    assert "[default: 15.0]" in shown
    assert "[default: 100]" in shown


def test_it_adds_the_path_that_it_knows_in_the_end(recording, tmp_path):
    """The weights are random, and see everything move, so that tracking starts: the path means nothing."""
    torch.manual_seed(0)
    network = PatchNetwork()
    network.update.d[-1].bias.data.add_(4.0)
    torch.save(network.state_dict(), tmp_path / "dpvo.pth")
    (tmp_path / "dpvo.yaml").write_text(
        f"backend: dpvo\ndpvo: {{weights: {tmp_path / 'dpvo.pth'}, preset: cpu, patches_per_frame: 8, max_width: 128, "
        "min_support: 0.0, device: cpu}\n"
    )
    options = ("--config", tmp_path / "dpvo.yaml", "--last", 11, "-o", tmp_path / "a.tum", "--json")
    finished = succeed("track", recording, *options)
    given, refined = read_tum(tmp_path / "a.tum"), read_tum(tmp_path / "a_refined.tum")
    assert (len(given), len(refined)) == (5, 12)  # the end knows the frames before the start, too
    assert set(given.stamps_ns) < set(refined.stamps_ns)
    assert not given.poses[-1].is_close(refined.poses[-1])
    assert json.loads(finished.stdout)["refined_error_m"]["rmse"] > 0.0


def test_without_its_weights_it_names_the_command_that_fetches_them(recording, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    finished = visloc("track", recording, "--backend", "dpvo")
    assert isinstance(finished.exception, ModelError)
    assert "visloc fetch-weights dpvo" in str(finished.exception)
    (weights,) = find_entries(["dpvo"])
    assert weights.licence == "MIT"


def test_it_takes_no_depth():
    with pytest.raises(ConfigError, match="klt"):
        make_odometry(OdometryConfig(backend="dpvo"), depth=lambda image: image[..., 0].astype("float32"))
