"""One table of whatever data sets lie below a folder: what is run, what is not and why, and what may be compared."""

import sys

import cv2
import numpy as np
import pytest

from plugins.visloc_field.benchmarks import field
from plugins.visloc_field.benchmarks.field import Row, field_table
from visloc_field.run_files import QueryRecord, append_record
from visloc_ros.core.geometry import SE3
from visloc_ros.simulation import SimulationConfig, simulate

SMALL = SimulationConfig(width=160, height=120, focal_px=120.0, duration_s=2.0, rate_hz=2.0, samples=1, light="none")


@pytest.fixture
def downloads(tmp_path):
    """A drive in KITTI's layout, with an image fewer than its times, and a scene whose images were not unpacked."""
    sequence, poses = tmp_path / "kitti" / "sequences" / "06", tmp_path / "kitti" / "poses"
    walk = simulate(SMALL, "localize")
    (sequence / "image_0").mkdir(parents=True)
    poses.mkdir()
    rows = []
    for number in range(4):
        cv2.imwrite(str(sequence / "image_0" / f"{number:06d}.png"), cv2.cvtColor(walk.frame(number).image, 6))
        rows.append(" ".join(map(str, np.ravel(walk.pose(number).matrix[:3]))))
    (sequence / "calib.txt").write_text("P0: 120 0 80 0 0 120 60 0 0 0 1 0\n")
    (sequence / "times.txt").write_text("".join(f"{0.5 * number}\n" for number in range(5)))
    (poses / "06.txt").write_text("\n".join(rows) + "\n")
    (tmp_path / "7scenes" / "fire").mkdir(parents=True)
    for part in ("Train", "Test"):
        (tmp_path / "7scenes" / "fire" / f"{part}Split.txt").write_text("sequence1\n")
    return tmp_path


def test_what_is_there_is_run_and_what_cannot_be_is_named(downloads, tmp_path, monkeypatch):
    table = tmp_path / "field.md"
    command = ["field", "--data", str(downloads), "--work", str(tmp_path / "work"), "--markdown", str(table)]
    monkeypatch.setattr(sys, "argv", command)
    field.main()
    lines = table.read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("| KITTI")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["KITTI odometry", "06"]
    assert cells[2].startswith("excerpt: 4 frames")
    assert cells[6].startswith("of the whole: DROID-VO 64.4 m; DPVO 54.78 m")
    assert "- Lipson et al., ECCV 2024: DROID-VO on KITTI odometry, DPVO on KITTI odometry" in "\n".join(lines)
    (reason,) = [line for line in lines if line.startswith(f"- {downloads / '7scenes'}: ")]
    assert "unpack seq-01.zip" in reason


def test_a_scene_that_is_whole_stands_beside_the_papers(tmp_path, monkeypatch):
    """A run of which everything is kept, two centimetres off."""
    scene, work = tmp_path / "data" / "fire", tmp_path / "work" / "7scenes_data"
    for number, part in ((1, "Train"), (2, "Test")):
        sequence = scene / f"seq-0{number}"
        sequence.mkdir(parents=True)
        (scene / f"{part}Split.txt").write_text(f"sequence{number}\n")
        (sequence / "frame-000000.color.png").write_bytes(b"")
        np.savetxt(sequence / "frame-000000.pose.txt", np.eye(4))
    (work / "maps" / "fire").mkdir(parents=True)
    (work / "fire").mkdir()
    found = QueryRecord("seq-02/frame-000000.color.png", SE3(np.eye(3), np.array([0.0, 0.02, 0.0])), "", 30.0)
    append_record(work / "fire" / "retrieval.jsonl", found)
    table = tmp_path / "field.md"
    command = ["field", "--data", str(tmp_path / "data"), "--work", str(tmp_path / "work"), "--markdown", str(table)]
    monkeypatch.setattr(sys, "argv", command)
    field.main()
    (row,) = [line for line in table.read_text().splitlines() if line.startswith("| 7-Scenes")]
    ours = "2.0 cm, 0.00°; 100.0 % within 0.05 m, 5°"
    assert row.startswith(f"| 7-Scenes | fire | 1 mapped, 1 searched | retrieval | {ours} | 30 | hloc, SuperPoint and ")


def test_only_figures_of_the_whole_stand_beside_ours_as_they_are():
    known = {"hloc": ("2 cm", "hloc's repository")}
    rows = [
        Row("7-Scenes", "fire", "9 mapped", "retrieval", "1.0 cm", None, known, is_whole) for is_whole in (True, False)
    ]
    whole, part = [line for line in field_table(rows, {}, every=10).splitlines() if "1.0 cm" in line]
    assert whole == "| 7-Scenes | fire | 9 mapped | retrieval | 1.0 cm | – | hloc 2 cm |"
    assert part == "| 7-Scenes | fire | excerpt: 9 mapped | retrieval | 1.0 cm | – | of the whole: hloc 2 cm |"
    assert "one image of 10 is mapped" in field_table(rows, {}, every=10)
    assert "Not run" not in field_table(rows, {})
