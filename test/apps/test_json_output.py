"""``--json`` means one thing: the result alone on standard output, and words on standard error."""

import json
from pathlib import Path

import pytest
import typer
from visloc_command import DEMO_MAP, visloc

from visloc_ros.apps.cli import app
from visloc_ros.apps.command_replay import finish
from visloc_ros.apps.commands import listed_commands
from visloc_ros.apps.console import print_json
from visloc_ros.core.errors import SourceError
from visloc_ros.core.map import open_map
from visloc_ros.core.types import State
from visloc_ros.evaluation.records import FrameRecord, RunRecord

WITHOUT = {
    "demo": "a show, whose report is read by people",
    "maps delete": "has no result",
}


def every_command():
    group = typer.main.get_command(app)
    for name in listed_commands():
        command = group.get_command(None, name).load()
        below = getattr(command, "commands", None)
        yield from ((f"{name} {one}", two) for one, two in below.items()) if below else [(name, command)]


def test_every_command_has_it_or_a_reason():
    missing = {
        name
        for name, command in every_command()
        if not any("--json" in parameter.opts and parameter.is_flag for parameter in command.params)
    }
    assert missing == {*WITHOUT, *(name for name, one in listed_commands().items() if one.is_lasting)}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A walk of three seconds through the simulated room."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "short.yaml").write_text("{duration_s: 3.0, rate_hz: 1.0, samples: 1}")
    finished = visloc("simulate", folder / "walk", "--pass", "localize", "--config", folder / "short.yaml", "--json")
    assert json.loads(finished.stdout) == {"source": str(folder / "walk"), "images": 3}
    (folder / "other.tum").write_text("".join(f"{row}.0 {row} {row * row} 0 0 0 0 1\n" for row in range(5)))
    return folder


CHEAP = {
    "localize": (("localize", DEMO_MAP, "ROOM/walk"), {"images": 3, "localized": 3}),
    "plot": (("plot", "ROOM/other.tum", "-o", "OUT/a.svg"), {"poses": {"other.tum": 5}}),
    "evaluate": (("evaluate", "ROOM/other.tum", "ROOM/other.tum"), {"matched": 5, "kitti": None, "nees": None}),
    "maps info": (("maps", "info", DEMO_MAP), {"metric": True}),
    "export-hloc": (("export-hloc", DEMO_MAP, "-o", "OUT/hloc"), {}),
    "track": (("track", "ROOM/walk"), {"backend": "klt", "frames": 3}),
    "run": (("run", DEMO_MAP, "ROOM/walk", "-o", "OUT/run"), {"frames": 3, "metric": True}),
    "align-map": (("align-map", DEMO_MAP, "-o", "OUT/level", "--floor"), {"metric": True}),
}


@pytest.mark.parametrize("name", CHEAP)
def test_the_result_is_alone_on_standard_output(room, tmp_path, name):
    words, expected = CHEAP[name]
    named = [str(word).replace("ROOM", str(room)).replace("OUT", str(tmp_path)) for word in words]
    finished = visloc(*named, "--json")
    told = json.loads(finished.stdout)
    assert {key: told[key] for key in expected} == expected


@pytest.mark.parametrize("words", [("maps", "list", DEMO_MAP.parent), ("doctor",), ("fetch-data", "--list")])
def test_lists_are_lists(words):
    assert isinstance(json.loads(visloc(*words, "--json").stdout), list)


def test_a_map_goes_to_hloc_and_back(tmp_path):
    assert visloc("export-hloc", DEMO_MAP, "-o", tmp_path / "hloc").exit_code == 0
    assert "localize_sfm.main" in (tmp_path / "hloc" / "README.txt").read_text()
    told = json.loads(visloc("import-hloc", tmp_path / "hloc", "-o", tmp_path / "map", "--metric", "--json").stdout)
    assert (told["map"], told["counts"]["images"] > 10) == (str(tmp_path / "map"), True)
    assert open_map(tmp_path / "map").manifest.metric
    again = visloc("export-hloc", tmp_path / "map", "-o", tmp_path / "hloc")
    assert (again.exit_code, "not empty" in str(again.exception)) == (1, True)


def test_the_words_of_the_next_command_are_on_standard_output_again(room):
    assert json.loads(visloc("maps", "list", DEMO_MAP.parent, "--json").stdout)
    assert "demo_room" in visloc("maps", "list", DEMO_MAP.parent).stdout


def test_frames_are_reported_meanwhile_with_what_each_stage_took(room):
    finished = visloc("localize", DEMO_MAP, room / "walk", "--json", "--timings")
    assert "localized 3 of 3 frames" in finished.stderr
    told = json.loads(finished.stdout)
    assert [frame["success"] for frame in told["frames"]] == [True] * 3
    assert {"decode", "features", "retrieval", "matching", "pnp", "total"} <= told["stage_ms"].keys()
    assert all(f"{stage} " in finished.stderr for stage in told["stage_ms"])


def test_a_run_that_finds_nothing_shows_its_figures_and_is_an_error(tmp_path, capsys):
    frames = tuple(FrameRecord(stamp_ns, State.LOST) for stamp_ns in range(9))
    with pytest.raises(SourceError, match="no frame of elsewhere was localized"):
        finish(RunRecord("elsewhere", frames), tmp_path / "run", as_json=True)
    assert (tmp_path / "run" / "summary.json").exists()
    told = capsys.readouterr().out
    assert json.loads(told[: told.rindex("}") + 1])["localized_frames"] == 0


def test_an_error_leaves_standard_output_empty(tmp_path):
    finished = visloc("maps", "info", tmp_path / "none", "--json")
    assert (finished.exit_code, finished.stdout) == (1, "")


def test_numbers_that_are_none_are_null(capsys):
    print_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": Path("x/y"), "d": (1, None)})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": "x/y", "d": [1, None]}
