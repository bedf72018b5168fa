"""The command line itself: help, completion, and bad input: one line that says what to do, and nothing is lost."""

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from visloc_command import run_program
from visloc_command import visloc as invoke

from visloc_ros.apps import cli
from visloc_ros.apps.aliases import Alias
from visloc_ros.apps.commands import ListedCommand, listed_commands

GROUPS = [name for name, one in listed_commands().items() if one.function == "app"]
IN_GROUPS = [(group, one) for group in GROUPS for one in ListedCommand(group, Alias(group)).load().commands]


@pytest.fixture
def visloc(monkeypatch, capsys):
    """Runs a command in this process, which has imported what it needs long ago."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.argv", ["visloc", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, shown.out, shown.err)

    monkeypatch.setattr(cli, "keep_freed_memory", lambda: None)  # that is the whole process's
    return run


def expect_error(finished: subprocess.CompletedProcess[str], *words: str) -> None:
    assert finished.returncode == 1, finished.stdout + finished.stderr
    message = finished.stderr.strip()
    assert "error:" in message
    assert "Traceback" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


def write_images(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index:04d}.png"), image)
    return folder


def test_help_names_every_command(visloc):
    finished = visloc("--help")
    assert finished.returncode == 0
    assert all(f" {command} " in finished.stdout for command in listed_commands())


def test_the_list_of_commands_imports_none_of_them():
    script = "import sys; from visloc_ros.apps.cli import main; main()"
    for words in (["--help"], ["--version"], []):
        shown = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", script, *words], capture_output=True, text=True, timeout=250
        )
        imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
        assert "visloc_ros.apps.commands" in imported
        heavy = {"torch", "pycolmap", "scipy", "matplotlib", "fastapi", "av", "rosbags", "h5py"}
        ours = {f"visloc_ros.{package}" for package in ("sources", "localization", "mapping", "evaluation")}
        assert not imported & (heavy | ours)


def test_no_command_imports_what_only_some_of_its_runs_need():
    script = (
        "import sys; from visloc_ros.apps.aliases import Alias; from visloc_ros.apps.commands import *;"
        "[ListedCommand(name, Alias(name)).load() for name in listed_commands()];"
        "print(*{'torch', 'matplotlib', 'scipy.stats', 'scipy.signal', 'fastapi', 'viser'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=250)
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("name", listed_commands())
def test_the_list_says_what_the_help_of_the_command_begins_with(name):
    listed = ListedCommand(name, Alias(name))
    assert listed.load().help.split("\n\n")[0].split() == listed.help.split()


def test_an_unknown_command_may_be_one_of_a_plugin(visloc):
    result = visloc("teleport")
    assert result.returncode == 2
    assert "docs/plugins.md" in " ".join(result.stderr.replace("│", "").split())


def test_an_unknown_search_may_be_one_of_a_plugin(tmp_path):
    refused = invoke("localize", tmp_path, tmp_path, "--search", "magic").exception
    assert "known: retrieval" in str(refused)
    assert "docs/plugins.md" in str(refused)


def test_a_misspelled_command_gets_a_hint(visloc):
    finished = visloc("localise")
    assert finished.returncode == 2
    assert "Did you mean 'localize'" in finished.stderr


@pytest.mark.parametrize("command", [*((name,) for name in listed_commands() if name not in GROUPS), *IN_GROUPS])
def test_the_help_of_each_command_has_an_example(visloc, command):
    words = " ".join(visloc(*command, "--help").stdout.split("Options")[0].split())
    assert words.count(f"visloc {' '.join(command)} ") >= 2, "in the usage and in an example"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("visloc batc", {"batch"}), ("visloc build-map --outp", {"--output"}), ("visloc maps ch", {"check"})],
)
def test_words_are_completed(words, expected):
    count = str(len(words.split()) - 1)
    environment = {"_VISLOC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    assert set(invoke(env=environment).stdout.split()) == expected


def test_version(visloc):
    assert visloc("--version").stdout.startswith("visloc 0.")


def test_a_missing_source(visloc, tmp_path):
    expect_error(visloc("track", tmp_path / "absent.mp4"), "absent.mp4")
    expect_error(run_program("build-map", tmp_path / "absent.mp4", "--output", tmp_path / "map"), "absent.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["export-hloc", "import-hloc"])
def test_what_is_no_map(visloc, tmp_path, command):
    (tmp_path / "empty").mkdir()
    expect_error(visloc(command, tmp_path / "empty", "--output", tmp_path / "out"), "not a map folder")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_empty_folder(visloc, tmp_path):
    (tmp_path / "empty").mkdir()
    expect_error(visloc("track", tmp_path / "empty"), "empty")


def test_a_truncated_video(visloc, tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(200))
    expect_error(visloc("track", path), "video.mp4")


def test_a_truncated_bag(visloc, tmp_path, shared_data):
    bag = tmp_path / "bag"
    shutil.copytree(shared_data / "ros2bag_mh05_mcap", bag)
    storage = bag / "bag.mcap"
    storage.chmod(0o644)
    storage.write_bytes(storage.read_bytes()[:100_000])
    expect_error(visloc("track", bag), "truncated", "mcap recover")


def test_a_bag_without_that_topic_lists_what_it_has(visloc, shared_data):
    finished = visloc("track", shared_data / "ros2bag_mh05_mcap", "--image-topic", "/front/image")
    expect_error(finished, "/front/image", "/camera/image_raw/compressed")


def test_a_missing_map(visloc, tmp_path, shared_data):
    finished = visloc("localize", tmp_path / "map", shared_data / "ros2bag_mh05_mcap")
    expect_error(finished, str(tmp_path / "map"))


def test_an_unknown_option_in_the_configuration(visloc, tmp_path, shared_data):
    config = tmp_path / "config.yaml"
    config.write_text("klt: {max_feature: 100}\n")
    finished = visloc("track", shared_data / "ros2bag_mh05_mcap", "--config", config)
    expect_error(finished, "klt.max_feature", "did you mean 'max_features'")


def test_black_and_uniform_frames_build_no_map_and_leave_nothing(visloc, tmp_path):
    frames = [np.full((240, 320), value, np.uint8) for value in (0, 0, 128, 128, 255, 255)]
    source = write_images(tmp_path / "black", frames)
    expect_error(visloc("build-map", source, "--output", tmp_path / "map"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["black"]


def test_black_frames_are_reported_one_by_one_when_tracking(visloc, tmp_path):
    source = write_images(tmp_path / "black", [np.zeros((240, 320), np.uint8)] * 5)
    finished = visloc("track", source)
    assert finished.returncode == 0, finished.stderr
    assert "0 of 5 frames" in finished.stdout


def test_an_existing_map_is_kept_without_overwrite(visloc, tmp_path, shared_data):
    output = tmp_path / "map"
    output.mkdir()
    (output / "precious.txt").write_text("mine")
    (output / "manifest.json").write_text("{}")
    finished = visloc("build-map", shared_data / "ros2bag_mh05_mcap", "--output", output)
    expect_error(finished, "map", "overwrite")
    assert (output / "precious.txt").read_text() == "mine"


def test_trajectories_that_never_meet(visloc, tmp_path):
    for name, start in (("a.tum", 0), ("b.tum", 1000)):
        lines = "".join(f"{start + i} {i} 0 0 0 0 0 1\n" for i in range(5))
        (tmp_path / name).write_text(lines)
    expect_error(visloc("evaluate", tmp_path / "a.tum", tmp_path / "b.tum"))


def test_evaluate_prints_the_errors_of_a_shifted_trajectory(visloc, tmp_path):
    for name, shift in (("estimate.tum", 0.25), ("truth.tum", 0.0)):
        lines = "".join(f"{i}.0 {i + shift} {i * i} 0 0 0 0 1\n" for i in range(10))
        (tmp_path / name).write_text(lines)
    finished = visloc("evaluate", tmp_path / "estimate.tum", tmp_path / "truth.tum")
    assert finished.returncode == 0, finished.stderr
    position = next(line for line in finished.stdout.splitlines() if "APE position [m]" in line)
    assert position.split()[-7:] == ["0.250000", "0.250000", "0.250000", "0.000000", "0.250000", "0.250000", "0.625000"]


@pytest.mark.parametrize("mode", ["fused", "hloc"])
def test_nodes_that_need_a_map_and_get_none(visloc, mode):
    expect_error(visloc("up", "--mode", mode), "--map", "--mode odom")


def test_nodes_whose_map_is_not_there_are_not_started(visloc, tmp_path):
    expect_error(visloc("up", "--map", tmp_path / "absent"), "there is no map at", "absent")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("~/out", "/home/robot/out"),
        ("--output=~/out", "--output=/home/robot/out"),
        ("--output=out~", "--output=out~"),
        ("-o~/out", "-o/home/robot/out"),
        ("-o", "-o"),
        ("--output", "--output"),
        ("a~b", "a~b"),
        ("-v", "-v"),
    ],
)
def test_the_home_folder_in_words_that_the_shell_leaves(monkeypatch, word, expected):
    monkeypatch.setenv("HOME", "/home/robot")
    assert cli.with_home(word) == expected


def test_a_quoted_path_leads_to_the_home_folder(visloc, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    expect_error(visloc("maps", "info", "~/office"), f"{tmp_path}/office")


def test_one_warning_of_a_kind_is_shown_and_the_others_are_counted(tmp_path):
    write_images(tmp_path / "walk", [np.zeros((240, 320), np.uint8)] * 6)
    for index in (1, 2, 4):
        path = tmp_path / "walk" / f"{index:04d}.png"
        path.write_bytes(path.read_bytes()[:60])
    shown = run_program("track", tmp_path / "walk").stderr
    assert shown.count("skipping") == 2
    assert shown.count("skipping 0001.png of 'walk'") == 2
    assert shown.rstrip().endswith("… and 2 more like it")
    assert run_program("--verbose", "track", tmp_path / "walk").stderr.count("WARNING") == 3
