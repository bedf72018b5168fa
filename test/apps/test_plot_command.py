"""Trajectories that were computed before become a picture."""

import json
import xml.etree.ElementTree as ET

import cv2
import numpy as np
import pytest
from visloc_command import DEMO_MAP, visloc

from visloc_ros.apps.command_evaluate import read_poses
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import write_tum
from visloc_ros.evaluation.drawing import flattest_view
from visloc_ros.evaluation.trajectory_plot import draw

POSES = [SE3.from_rotation_vector([0.0, 0.0, 0.1 * t], [np.cos(0.1 * t), np.sin(0.1 * t), 0.01 * t]) for t in range(60)]


def plot(*arguments):
    return visloc("plot", *arguments)


@pytest.fixture
def walk(tmp_path):
    write_tum(tmp_path / "walk.tum", [10**8 * t for t in range(60)], POSES)
    return tmp_path / "walk.tum"


@pytest.fixture
def found(tmp_path):
    """As localize writes it, with one frame that was not found."""
    lines = [{"name": "x", "stamp_ns": 5, "success": False, "reason": "FEW_INLIERS"}]
    for t, pose in enumerate(POSES[:3]):
        names = (*"wxyz", *"xyz")
        values = [*pose.quaternion.tolist(), *pose.translation.tolist()]
        keys = [f"{'q' if number < 4 else 't'}{name}" for number, name in enumerate(names)]
        lines.append({"stamp_ns": t, "success": True, "map_from_camera": dict(zip(keys, values, strict=True))})
    (tmp_path / "poses.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "poses.jsonl"


def test_a_picture_of_two_trajectories_over_a_map(walk, found, tmp_path):
    drawn = plot(walk, found, "--map", DEMO_MAP, "-o", tmp_path / "a.png")
    assert drawn.exit_code == 0, drawn.output
    assert "63 poses" in drawn.output
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10.0


def test_names_counts_and_axes_are_in_it(walk, tmp_path):
    plot(walk, "-o", tmp_path / "a.svg")
    ET.parse(tmp_path / "a.svg")
    plot(walk, "-o", tmp_path / "a.html")
    assert "<svg" in (tmp_path / "a.html").read_text()
    figure = draw({"walk": read_poses(walk)}, None, "m")
    (above, *over_time) = figure.get_axes()
    assert above.get_legend().get_texts()[0].get_text() == "walk (60 poses)"
    assert (above.get_xlabel(), above.get_ylabel()) == ("x [m]", "y [m]")
    assert [axes.get_ylabel() for axes in over_time] == ["x [m]", "y [m]", "z [m]"]


def test_it_is_seen_along_the_axis_of_least_motion():
    rng = np.random.default_rng(0)
    assert flattest_view(rng.normal(size=(50, 3)) * [3.0, 2.0, 1.0]) == [0, 1]
    assert flattest_view(rng.normal(size=(50, 3)) * [3.0, 0.1, 2.0]) == [0, 2]


def test_only_frames_that_were_found_are_poses(found):
    trajectory = read_poses(found)
    assert trajectory.stamps_ns.tolist() == [0, 1, 2]
    assert all(a.is_close(b) for a, b in zip(trajectory.poses, POSES[:3], strict=True))


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"success": true}', '{"success": true, "map_from_camera": {}}'])
def test_a_file_without_poses_is_refused(tmp_path, text):
    (tmp_path / "poses.jsonl").write_text(text)
    refused = plot(tmp_path / "poses.jsonl", "-o", tmp_path / "a.png")
    assert isinstance(refused.exception, SourceError)
    assert not (tmp_path / "a.png").exists()


def test_another_kind_of_picture_is_refused(walk, tmp_path):
    assert isinstance(plot(walk, "-o", tmp_path / "a.bmp").exception, ConfigError)
