"""Whole protocols on rendered data sets: mapped at the given poses, found within the thresholds, and gone on with."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace

import pytest
from benchmark_trees import write_cambridge

from visloc_field.cambridge import read_cambridge
from visloc_field.protocol import BenchmarkConfig, run_protocol
from visloc_field.result_files import read_result_file
from visloc_field.run_files import read_records
from visloc_field.scores import mean_score, score_scene
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.execution.processes import ProcessEngine


def test_queries_of_seven_scenes_are_found_within_the_thresholds(kitchen):
    scene, records = kitchen.scene, kitchen.records
    score = score_scene(scene, records)[""]
    assert (score.queries, score.found, score.with_truth) == (3, 3, 3)
    assert [one.percent for one in score.recall] == [100.0]
    assert score.position_m < 0.02
    assert score.rotation_deg < 0.5
    assert score.search_ms > 0


def test_what_was_done_before_an_interruption_is_not_done_again(kitchen):
    scene, records = kitchen.scene, kitchen.records
    assert len(kitchen.kept) == 2
    assert kitchen.stages == ["search redkitchen"]  # no map is built
    for name, record in kitchen.kept.items():
        assert records[name].search_ms == record.search_ms
    assert set(records) == {query.name for query in scene.queries}


def test_the_result_file_holds_what_was_found(kitchen):
    folder, scene, records = kitchen.folder, kitchen.scene, kitchen.records
    poses = read_result_file(folder / "redkitchen" / "retrieval.txt")
    assert list(poses) == [query.result_name for query in scene.queries]
    for name, found in poses.items():
        assert found.is_close(records[name].map_from_camera, 1e-9, 1e-6)


def test_another_run_in_the_folder_is_refused(kitchen, tmp_path):
    folder, scene = kitchen.folder, kitchen.scene
    options = read_config(BenchmarkConfig, kitchen.config)
    other = replace(options, anchor=replace(options.anchor, top_k=7))
    with pytest.raises(ConfigError, match=r"other options.*name another --output"):
        run_protocol([scene], ["retrieval"], folder, other)
    with pytest.raises(ConfigError, match="scene 'redkitchen' with 10 images of the database and 3 queries, not 5"):
        run_protocol([scene.thinned(2)], ["retrieval"], folder, options)
    moved = tmp_path / "image.png"
    query = scene.queries[0]
    moved.write_bytes(query.path.read_bytes())
    elsewhere = replace(scene, queries=(replace(query, path=moved), *scene.queries[1:]))
    assert run_protocol([elsewhere], ["retrieval"], folder, options)["redkitchen"].keys() == {"retrieval"}
    moved.write_bytes(moved.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="other images, cameras or poses of 'redkitchen'"):
        run_protocol([elsewhere], ["retrieval"], folder, options)
    settings = folder / "settings.json"
    text = settings.read_text()
    settings.write_text(json.dumps({**json.loads(text), "made_by": "another version"}))
    with pytest.raises(ConfigError, match="another version of this program, of a package or of weights"):
        run_protocol([scene], ["retrieval"], folder, options)
    settings.write_text(text)
    (folder / "broken").mkdir()
    (folder / "broken" / "settings.json").write_text("[]")
    with pytest.raises(ConfigError, match="does not list the options"):
        run_protocol([scene], ["retrieval"], folder / "broken")


def test_cambridge_is_found_by_a_worker_with_images_and_cameras_of_different_size(views, tmp_path):
    database, queries = (
        [(image[len(image) // 8 : -len(image) // 8], seen_from) for image, seen_from in part] for part in views
    )
    write_cambridge(tmp_path / "data", database, queries, focal_px=3 * 525.0)
    (scene,) = read_cambridge(tmp_path / "data")
    with closing(ProcessEngine(2)) as engine:
        first, again = (
            run_protocol([scene], ["retrieval"], tmp_path / "out", engine=engine)["ShopFacade"]["retrieval"]
            for _ in range(2)
        )
    assert {name: one.search_ms for name, one in again.items()} == {name: one.search_ms for name, one in first.items()}
    records = first
    score = score_scene(scene, records)[""]
    assert [one.percent for one in score.recall] == [100.0, 100.0, 100.0]
    assert score.position_m < 0.03


def test_scores_split_by_condition_and_count_what_is_missing(kitchen):
    scene, records = kitchen.scene, kitchen.records
    first, second, third = scene.queries
    dark = [replace(first, condition="night"), replace(second, condition="day"), replace(third, condition="day")]
    found = {name: record for name, record in records.items() if name != first.name}
    scores = score_scene(replace(scene, queries=tuple(dark)), found)
    assert list(scores) == ["", "night", "day"]
    assert (scores["night"].found, scores["night"].position_m, scores["night"].recall[0].percent) == (0, None, 0.0)
    assert scores["day"].recall[0].percent == 100.0
    assert scores[""].recall[0].percent == pytest.approx(200 / 3)
    unknown = replace(scene, queries=tuple(replace(query, map_from_camera=None) for query in dark))
    assert score_scene(unknown, records)[""].recall == ()
    mean = mean_score([scores["night"], scores["day"]])
    assert (mean.queries, mean.found, mean.position_m, mean.recall[0].percent) == (3, 2, None, 50.0)


def test_half_a_line_of_a_killed_search_is_dropped(kitchen, tmp_path):
    text = (kitchen.folder / "redkitchen" / "retrieval.jsonl").read_text()
    path = tmp_path / "retrieval.jsonl"
    path.write_text(text + '{"name": "half')
    assert len(read_records(path)) == 3
    assert path.read_text() == text
    path.write_text(json.dumps({"name": "no pose"}) + "\n")
    with pytest.raises(SourceError, match="remove the file"):
        read_records(path)
