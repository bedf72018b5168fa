"""``visloc benchmark``: what it prints, what it writes, and what it refuses."""

import json

import pytest
from benchmark_trees import pose, write_aachen, write_cmu, write_seven_scenes
from typer.testing import CliRunner

from visloc_field import command_benchmark
from visloc_field.aachen import read_aachen
from visloc_field.command_benchmark import print_published, print_scores
from visloc_field.data_sets import DATA_SETS
from visloc_field.extended_cmu import read_extended_cmu
from visloc_field.found_data import SEQUENCES
from visloc_field.published import PUBLISHED, published_for
from visloc_field.result_files import read_result_file
from visloc_field.run_files import QueryRecord, append_record
from visloc_field.scores import score_scene
from visloc_ros.apps.aliases import told_apart
from visloc_ros.apps.cli import app
from visloc_ros.core.map import open_map


def visloc(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def told(kitchen):
    """Both ways of searching in the map that is there already."""
    words = ("benchmark", "7scenes", kitchen.data, "--scenes", "redkitchen", "--search", "retrieval,landmarks")
    return visloc(*words, "--output", kitchen.folder, "--config", kitchen.config, "--json")


def test_both_ways_are_scored(kitchen, told):
    assert told.exit_code == 0, told.output
    figures = json.loads(told.stdout)
    assert figures == json.loads((kitchen.folder / "benchmark.json").read_text())
    scene = figures["scenes"]["redkitchen"]
    for search in ("retrieval", "landmarks"):
        assert scene[search]["all"]["recall"] == [{"distance_m": 0.05, "angle_deg": 5.0, "percent": 100.0}]
        assert (kitchen.folder / "redkitchen" / f"{search}.txt").read_text().count("\n") == 3
    assert open_map(kitchen.folder / "maps" / "redkitchen").manifest.prepared["landmarks"]["maps"] == ["redkitchen"]


def test_the_table_has_a_row_for_each_way(kitchen, told, caplog):
    words = ("benchmark", "7scenes", kitchen.data, "--search", "retrieval,landmarks", "--output", kitchen.folder)
    shown = visloc(*words, "--config", kitchen.config).stdout.splitlines()
    assert "replaced" not in caplog.text  # the run is continued
    rows = [line.split() for line in shown if line.strip().startswith("redkitchen")]
    assert [row[:6] for row in rows] == [
        ["redkitchen", "all", way, "3", "of", "3"] for way in ("retrieval", "landmarks")
    ]
    assert "cm" in rows[0]


def test_figures_of_papers_stand_beside_ours_where_the_server_has_the_truth(tmp_path, capsys):
    write_aachen(tmp_path)
    scenes = read_aachen(tmp_path)
    print_scores(scenes, {"aachen": {"retrieval": score_scene(scenes[0], {})}})
    print_published(published_for("aachen"))
    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.splitlines() if line.split()[:1] == ["aachen"]] == ["all", "day", "night"]
    assert "89.8 / 96.1 / 99.4" in shown


def test_published_figures_are_percentages_that_grow_with_the_thresholds():
    for one in PUBLISHED:
        assert one.data_set in DATA_SETS | SEQUENCES
        assert all(0 < low <= middle <= high <= 100 for low, middle, high in one.recalls.values())
    assert published_for("12scenes") == []
    of_lbr = {
        one.method: one.recalls for name in ("aachen", "robotcar") for one in published_for(name) if "LBR" in one.method
    }
    assert of_lbr["LBR, cvpr"]["night"] == (77.0, 90.1, 99.5)
    assert of_lbr["LBR, post-cvpr"]["night"] == (75.4, 91.6, 100.0)
    assert of_lbr["LBR, post-cvpr (first Seasons)"]["night-rain"] == (46.1, 73.6, 92.5)
    assert published_for("7scenes")[0].medians_cm["redkitchen"] == 4


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("8scenes", "DATA"), "no protocol for a data set '8scenes'; there are 7scenes"),
        (("7scenes", "DATA", "--scenes", "kitchen"), "no scene 'kitchen'"),
        (("7scenes", "DATA", "--search", "magic"), "no way of searching 'magic'"),
        (("7scenes", "nowhere"), "holds no scene of 7-Scenes"),
    ],
)
def test_what_cannot_be_done_is_reported_in_words(tmp_path, words, complaint):
    write_seven_scenes(tmp_path / "data")
    named = [tmp_path / "data" if word == "DATA" else word for word in words]
    refused = visloc("benchmark", *named, "--output", tmp_path / "out")
    assert refused.exit_code != 0
    assert complaint in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_a_program_of_another_tool_has_the_same_name():
    assert told_apart(["benchmark", "7scenes", "data"])[0] == "benchmark"
    assert told_apart(["benchmark", "--reference", "r", "--video=v.mp4"])[0] == "benchmark-localize"
    assert told_apart(["localize", "--video", "v.mp4"])[0] == "localize"


def test_scenes_have_a_mean_and_servers_one_file(tmp_path, capsys):
    write_cmu(tmp_path / "data")
    for name in ("slice2", "slice18"):
        (tmp_path / "out" / "maps" / name).mkdir(parents=True)  # mapped and searched already
        (tmp_path / "out" / name).mkdir()
    for scene in read_extended_cmu(tmp_path / "data"):
        record = QueryRecord(scene.queries[0].name, pose(1), "", 20.0)
        append_record(tmp_path / "out" / scene.name / "retrieval.jsonl", record)
    told = visloc("benchmark", "cmu", tmp_path / "data", "--output", tmp_path / "out", "--json")
    assert told.exit_code == 0, told.output
    scenes = json.loads(told.stdout)["scenes"]
    assert list(scenes) == ["slice2", "slice18", "mean"]
    assert scenes["mean"]["retrieval"]["all"]["search_ms"] == 20.0
    assert list(scenes["slice18"]["retrieval"]) == ["all", "park"]
    joined = read_result_file(tmp_path / "out" / "retrieval.txt")
    assert list(joined) == ["img_00200_c1_128428370us.jpg", "img_00200_c1_128428371us.jpg"]


def test_who_interrupts_is_told_that_nothing_is_lost(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_benchmark, "run_protocol", interrupted)
    write_seven_scenes(tmp_path / "data")
    told = visloc("benchmark", "7scenes", tmp_path / "data", "--output", tmp_path / "out")
    assert told.exit_code != 0
    assert "the same command goes on there" in told.output
