"""Commands and options by the names that other tools give them, and where those keep their maps."""

import json
import re
import shutil
from pathlib import Path

import pytest
import typer
from mapped_room import write_video
from visloc_command import DEMO_MAP, ROOT, succeed, visloc

from visloc_ros.apps.aliases import ALIASES
from visloc_ros.apps.cli import app
from visloc_ros.apps.commands import COMMANDS, all_commands, listed_commands
from visloc_ros.apps.flags import find_map, sort_out
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import open_map
from visloc_ros.core.map_folder import list_maps, remove_map
from visloc_ros.simulation import SimulationConfig, simulate, write_folder

PAGE = ROOT / "docs" / "commands.md"
SCENES = Path("data/hloc_reference")
SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, duration_s=2.0, rate_hz=2.0, noise_std=1.0)


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films") / "walk"
    write_folder(simulate(SMALL, "localize"), folder)
    return folder


@pytest.fixture
def place(walk, tmp_path, monkeypatch):
    """A folder as those tools have it: a video, and a scene with its packed map."""
    monkeypatch.chdir(tmp_path)
    (SCENES / "room").mkdir(parents=True)
    shutil.copy(DEMO_MAP, SCENES / "room" / "reference.tar.gz")
    shutil.copytree(walk, "walk")
    return tmp_path


@pytest.mark.parametrize("name", ALIASES)
def test_an_alias_is_a_command_with_options_that_it_has(name):
    group, alias = typer.main.get_command(app), ALIASES[name]
    assert alias.in_list in COMMANDS
    assert name not in COMMANDS
    command = group.get_command(None, name.replace("-", "_")).load()
    assert alias.defaults.keys() <= {parameter.name for parameter in command.params}
    succeed(name, "--help")
    assert f" {name} " not in visloc("--help").stdout
    program = name.replace("-", "_")
    assert re.search(rf"`((backend|frontend)\.{program}|bin/(download/)?{program}|visloc {name})\b", PAGE.read_text())


@pytest.mark.parametrize("reference", ["room", SCENES / "room", SCENES / "room" / "reference.tar.gz"])
def test_debug_localize(place, reference):
    done = succeed("debug_localize", "--video", "walk", "--reference", reference, "--fps", 2, "--max-frames", 2)
    assert "of 2 frames" in done.output


def test_the_other_spellings_and_the_stages_of_the_benchmark(place):
    done = succeed("benchmark", "--video-path", "walk", "--reference-path", "room", "--max-frames", 1)
    assert all(word in done.output for word in ("decode", "features", "matching", "pnp", "total"))


def test_pictures_have_a_place_of_their_own(place):
    succeed("visualize-poses", "--video", "walk", "--reference", "room", "--max-frames", 2)
    assert Path("out/visualize_poses/poses.png").is_file()
    succeed("plot-trajectory", "out/visualize_poses/poses.tum")
    assert Path("trajectory.png").is_file()


def test_the_benchmark_takes_as_many_frames_as_that_tool_does():
    shown = visloc("benchmark-localize", "--help").stdout
    assert "[default: 2.0]" in shown
    assert "[default: 10]" in shown


def test_app_and_run_batch_make_maps_where_those_tools_look_for_them(place):
    write_video(Path("data/office.mp4"), SMALL)
    done = succeed("app", "--video-path", "data/office.mp4")
    assert open_map(SCENES / "office" / "reference.tar.gz").images
    done = succeed("run_batch", "--json")
    (one,) = json.loads(done.stdout)["recordings"]
    assert one["state"] == "there already"


def test_viewer_takes_the_first_webcam(place, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "visloc_ros.apps.command_view.open_searchable_map", lambda path: asked.append(path) or open_map(path)
    )
    refused = visloc("viewer", "--reference", "room", "--trajectory", "poses.tum")
    assert "a camera is live" in str(refused.exception)
    assert isinstance(visloc("viewer").exception, ConfigError)
    assert asked == []


def test_view_trajectory(place, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    done = succeed("view-trajectory", "--reference", "room", "--port", 18_890)
    assert "open http://127.0.0.1:18890" in done.output


def test_a_scene_is_a_map_and_only_its_archive_is_deleted(place):
    (SCENES / "room" / "video.mp4").write_text("mine")
    (SCENES / "notes").mkdir()
    (entry,) = list_maps(SCENES)
    assert (entry.path, entry.problem) == (SCENES / "room", "")
    assert json.loads(visloc("maps", "list", SCENES, "--json").stdout)[0]["path"] == str(SCENES / "room")
    assert len(open_map(entry.path).images) == len(open_map(DEMO_MAP).images)
    remove_map(entry.path)
    assert [path.name for path in (SCENES / "room").iterdir()] == ["video.mp4"]
    assert list_maps(SCENES) == []


def test_an_archive_over_a_link_is_no_scene(place):
    (SCENES / "linked").mkdir()
    (SCENES / "linked" / "reference.tar.gz").symlink_to(DEMO_MAP)
    assert [entry.path.name for entry in list_maps(SCENES)] == ["room"]


def test_maps_are_found_by_name(place):
    Path("maps").mkdir()
    shutil.copy(DEMO_MAP, "maps/demo_room.tar.gz")
    assert find_map(Path("demo_room")) == Path("maps/demo_room.tar.gz")
    assert find_map(Path("room")) == SCENES / "room"
    assert find_map(Path("walk")) == Path("walk")
    assert find_map(Path("none")) == Path("none")
    assert find_map(Path("a/room")) == Path("a/room")


MAP, FILM = Path("map"), Path("film")


@pytest.mark.parametrize(
    ("by_position", "by_option", "expected"),
    [
        ([MAP, FILM], [None, None], [MAP, FILM]),
        ([MAP, None], [None, FILM], [MAP, FILM]),
        ([FILM, None], [MAP, None], [MAP, FILM]),
        ([None, None], [MAP, FILM], [MAP, FILM]),
        ([None, None], [None, FILM], [None, FILM]),
    ],
)
def test_what_stands_by_position_goes_to_what_no_option_names(by_position, by_option, expected):
    found = sort_out(by_position, dict(zip(("map_path", "source"), by_option, strict=True)))
    assert list(found.values()) == expected


@pytest.mark.parametrize(
    ("words", "told"), [((), "a map"), (("room",), "a source"), (("room", "a", "--video", "b"), "'a'")]
)
def test_what_is_missing_or_given_twice_is_reported(place, words, told):
    refused = visloc("localize", *words)
    assert isinstance(refused.exception, ConfigError)
    assert told in str(refused.exception)


def test_several_videos_are_taken_and_none_is_refused(place):
    write_video(Path("a.mp4"), SMALL)
    for given in (("walk", "--video", "gone.mp4"), ("gone.mp4", "--video", "a.mp4"), ("walk", "a.mp4", "gone.mp4")):
        assert "gone.mp4" in str(visloc("build-map", *given).exception)
    assert "a source" in str(visloc("build-map").exception)


def test_the_help_does_not_list_them():
    shown = visloc("--help").stdout
    assert not any(f" {name} " in shown for name in all_commands().keys() - listed_commands().keys())
