"""Result files: poses for the servers, and what each search found and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_trees import pose

from visloc_field.result_files import read_result_file, write_result_file, write_result_files
from visloc_field.run_files import QueryRecord, append_record, read_records
from visloc_field.scene import (
    OUTDOOR,
    BenchmarkScene,
    DatabaseImage,
    QueryImage,
    ResultNames,
)
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.geometry import SE3

CAMERA = camera_from_params("SIMPLE_PINHOLE", 8, 6, [5.0, 4.0, 3.0])


def scene_of(*truths):
    """A scene of queries ``night/rear/N.jpg`` with these true poses, which the server knows without their condition."""
    queries = [
        QueryImage(name, Path("images", name), CAMERA, "night", truth, f"rear/{number}.jpg")
        for number, truth in enumerate(truths)
        for name in [f"night/rear/{number}.jpg"]
    ]
    return BenchmarkScene("place", (DatabaseImage("a.jpg", Path("a.jpg"), CAMERA, pose(0)),), tuple(queries), OUTDOOR)


def moved(one, metres):
    return SE3(one.rotation, one.translation + np.array([metres, 0.0, 0.0]))


def lines(path):
    return path.read_text().splitlines()


def test_each_search_leaves_its_pose_its_reference_or_its_name_among_the_failed(tmp_path):
    scene = scene_of(*[pose(1)] * 3, None)
    found = [
        QueryRecord("night/rear/0.jpg", moved(pose(1), 0.1), "", 20.0, "db/7.jpg", 45, 2),
        QueryRecord("night/rear/1.jpg", None, "FEW_INLIERS", 30.0),
        QueryRecord("night/rear/2.jpg", moved(pose(1), 4.0), "", 40.0, "db/9.jpg", 12, 5),
    ]
    write_result_files(tmp_path, "instances", scene, {record.name: record for record in found})
    assert list(read_result_file(tmp_path / "instances.txt")) == ["rear/0.jpg", "rear/2.jpg"]
    assert lines(tmp_path / "instances.log") == ["rear/0.jpg db/7.jpg 45 2", "rear/2.jpg db/9.jpg 12 5"]
    assert lines(tmp_path / "instances.failed") == ["rear/1.jpg", "rear/3.jpg"]
    heading, *searches = lines(tmp_path / "instances_full.log")
    assert heading.split()[-3:] == ["within_0.25m_2deg", "within_0.5m_5deg", "within_5m_10deg"]
    assert searches == [
        "night/rear/0.jpg night FOUND db/7.jpg 45 2 20.0 0.1000 0.0000 1/1 1/1 1/1",
        "night/rear/1.jpg night FEW_INLIERS - 0 0 30.0 - - 1/2 1/2 1/2",
        "night/rear/2.jpg night FOUND db/9.jpg 12 5 40.0 4.0000 0.0000 1/3 1/3 2/3",
    ]


def test_without_a_truth_nothing_is_counted(tmp_path):
    scene = scene_of(None)
    write_result_files(tmp_path, "x", scene, {"night/rear/0.jpg": QueryRecord("night/rear/0.jpg", pose(2), "", 1.0)})
    assert lines(tmp_path / "x_full.log")[1] == "night/rear/0.jpg night FOUND - 0 0 1.0 - - 0/0 0/0 0/0"
    write_result_files(tmp_path, "none", scene, {})
    assert (lines(tmp_path / "none.txt"), lines(tmp_path / "none.failed")) == ([], ["rear/0.jpg"])


def test_records_are_kept_and_older_ones_still_read(tmp_path):
    path = tmp_path / "records.jsonl"
    append_record(path, QueryRecord("a", pose(1), "", 20.0, "db/7.jpg", 45, 2))
    old = '{"name": "b", "map_from_camera": null, "reason": "FEW_MATCHES", "search_ms": 3.0}\n'
    path.write_text(path.read_text() + old)
    records = read_records(path)
    assert (records["a"].reference, records["a"].inliers, records["a"].order) == ("db/7.jpg", 45, 2)
    assert (records["b"].reference, records["b"].reason) == ("", "FEW_MATCHES")


@pytest.mark.parametrize(("kind", "name"), [("server", "rear/0.jpg"), ("file", "0.jpg"), ("folder", "rear/0.jpg")])
def test_names_in_result_files_are_a_choice(kind, name):
    scene = scene_of(None, None).with_result_names(ResultNames(kind))
    assert scene.queries[0].result_name == name


def test_names_that_two_cameras_share_are_refused():
    first, second = scene_of(None, None).queries
    same = QueryImage("night/left/0.jpg", Path("images/night/left/0.jpg"), CAMERA, result_name="left/0.jpg")
    scene = BenchmarkScene("place", scene_of(None).database, (first, second, same), OUTDOOR)
    assert len({query.result_name for query in scene.with_result_names(ResultNames.folder).queries}) == 3
    with pytest.raises(ConfigError, match="leave --result-names out"):
        scene.with_result_names(ResultNames.file)


def test_result_files_are_read_as_they_were_written(tmp_path):
    poses = {f"rear/{number}.jpg": pose(number) for number in range(5)}
    write_result_file(tmp_path / "results.txt", poses)
    lines = (tmp_path / "results.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [8] * 5
    camera_from_map = pose(3).inverse
    assert [float(value) for value in lines[3].split()[5:]] == camera_from_map.translation.tolist()
    again = read_result_file(tmp_path / "results.txt")
    assert list(again) == list(poses)
    assert all(again[name].is_close(one, 1e-12, 1e-6) for name, one in poses.items())
    write_result_file(tmp_path / "again.txt", again)
    assert read_result_file(tmp_path / "again.txt").keys() == poses.keys()


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [("a 1 0 0 0 1 2", "form 'NAME QW"), ("a 2 0 0 0 1 2 3", "form"), ("a 1 0 0 0 1 2 3\n" * 2, "a second time")],
)
def test_a_broken_result_file_is_refused(tmp_path, lines, complaint):
    (tmp_path / "results.txt").write_text(lines)
    with pytest.raises(SourceError, match=complaint):
        read_result_file(tmp_path / "results.txt")
