from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory_files import read_trajectory, read_tum

POSES = [SE3.from_rotation_vector([0.1, 0.2, 0.1 * step], [step, 0.5, -step]) for step in range(5)]
STAMPS_NS = [100_000_000 * step for step in range(5)]
TUM_NAMES = "timestamp,tx,ty,tz,qx,qy,qz,qw"


def rows(stamps, order="xyzw"):
    """Lines with the quaternion in an order."""
    for stamp, pose in zip(stamps, POSES, strict=True):
        quaternion = dict(zip("wxyz", pose.quaternion, strict=True))
        values = [*pose.translation, *(quaternion[axis] for axis in order)]
        yield [str(stamp), *(f"{value:.12f}" for value in values)]


def write(folder: Path, lines, separator=" ", header="") -> Path:
    path = folder / "poses.txt"
    path.write_text(header + "".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def check(trajectory, stamps_ns=tuple(STAMPS_NS)):
    assert trajectory.stamps_ns.tolist() == list(stamps_ns)
    for pose, true in zip(trajectory.poses, POSES, strict=True):
        assert pose.is_close(true, 1e-8, 1e-6)


@pytest.mark.parametrize(
    ("header", "order"),
    [
        (f"{TUM_NAMES}\n", "xyzw"),
        ("time,x,y,z,qw,qx,qy,qz\n", "wxyz"),
        ("#timestamp, p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []\n", "wxyz"),
        ("%time,pose.position.x,pose.position.y,pose.position.z," + ",".join(f"pose.orientation.{a}" for a in "wxyz")
         + "\n", "wxyz"),
        ("\ufefft,pos_x,pos_y,pos_z,quat_w,quat_x,quat_y,quat_z\n", "wxyz"),
    ],
)  # fmt: skip
def test_names_of_columns_are_obeyed(tmp_path, header, order):
    path = write(tmp_path, rows(["0.0", "0.1", "0.2", "0.3", "0.4"], order), ",", header)
    check(read_tum(path))


def test_more_columns_than_needed_are_found_by_their_names(tmp_path):
    header = "seq,stamp,q_x,q_y,q_z,q_w,v_x,v_y,v_z,x,y,z\n"
    lines = (
        [str(at), *row[:1], *row[4:], "9", "9", "9", *row[1:4]]
        for at, row in enumerate(rows([s / 1e9 for s in STAMPS_NS]))
    )
    check(read_tum(write(tmp_path, lines, ",", header)))


@pytest.mark.parametrize(
    ("first", "step", "unit_ns"),
    [
        (1_700_000_000_000, 100, 1_000_000),
        (1_700_000_000_000_000, 100_000, 1_000),
        (1_700_000_000_000_000_000, 100_000_000, 1),
        (0, 100_000_000, 1),
        (0, 100_000, 1_000),
        (20_240_501_120_000, 1, 0),
    ],
)
def test_whole_numbers_have_the_unit_that_digits_or_rate_tell(tmp_path, first, step, unit_ns):
    stamps = [first + step * at for at in range(5)]
    begin = 1_714_564_800 if unit_ns == 0 else 0  # 2024-05-01 12:00 UTC
    expected = [(begin + at) * 10**9 if unit_ns == 0 else stamp * unit_ns for at, stamp in enumerate(stamps)]
    check(read_tum(write(tmp_path, rows(stamps))), expected)


def test_a_line_may_end_in_a_comma(tmp_path):
    lines = ([*row, ""] for row in rows(["0.0", "0.1", "0.2", "0.3", "0.4"]))
    check(read_tum(write(tmp_path, lines, ",")))


def test_a_stamp_of_thousands_of_digits_is_refused(tmp_path):
    with pytest.raises(SourceError, match="txt:1: not a number"):
        read_trajectory(write(tmp_path, [["1" * 5000, "0", "0", "0", "0", "0", "0", "1"]]))


def test_frame_numbers_are_no_times(tmp_path):
    path = write(tmp_path, rows(range(5)))
    assert read_trajectory(path).is_numbered
    with pytest.raises(SourceError, match="frame numbers, not times: write its stamps as seconds"):
        read_tum(path)


def kitti_rows():
    return [[f"{value:.9e}" for value in pose.matrix[:3].ravel()] for pose in POSES]


def test_kitti_poses_are_numbered_until_their_times_lie_beside_them(tmp_path):
    path = write(tmp_path, kitti_rows())
    numbered = read_trajectory(path)
    assert numbered.is_numbered
    check(numbered, [10**9 * at for at in range(5)])
    (tmp_path / "times.txt").write_text("0\n1e-1\n2e-1\n3e-1\n4e-1\n")
    timed = read_tum(path)
    check(timed)
    (tmp_path / "times.txt").write_text("0\n1e-1\n")
    with pytest.raises(SourceError, match=r"times\.txt has 2 times for 5 poses"):
        read_tum(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([["7", *row] for row in rows(["0.5", "1.5", "2.5", "3.5", "4.5"])], "txt:1: 9 columns, expected 8"),
        ([["2"] * 12], "txt:1: 12 columns, but no rotation"),
        ([TUM_NAMES.replace("qw", "roll").split(",")], "txt:1: not a number, nor names of columns"),
        ([f"sec,nsec,{TUM_NAMES}".split(",")], "txt:1: not a number, nor names of columns"),
        ([['{"frames": []}']], "is JSON"),
        ([["0.1", "0", "0", "0", "0", "0", "0", "1"], ["0.2", "0", "0"]], "txt:2: 3 columns"),
    ],
)
def test_other_columns_are_refused(tmp_path, lines, message):
    with pytest.raises(SourceError, match=message):
        read_trajectory(write(tmp_path, lines, ","))


@pytest.mark.parametrize("name", ["crlf_bom.txt", "euroc.csv", "pandas.csv", "ns_small.txt"])
def test_files_of_people_hold_the_true_path(shared_data, name):
    truth = read_tum(shared_data / "kitti_06" / "groundtruth_tum.txt")
    given = read_tum(shared_data / "cases" / "trajectories" / name)
    assert np.abs(given.stamps_ns - truth.stamps_ns[: len(given)]).max() <= 1000
    assert all(one.is_close(other, 1e-5, 1e-3) for one, other in zip(given.poses, truth.poses, strict=False))


@pytest.mark.parametrize("name", ["kitti6.txt", "frames.txt"])
def test_numbered_files_of_people_meet_no_times(shared_data, name):
    with pytest.raises(SourceError, match="frame numbers, not times"):
        read_tum(shared_data / "cases" / "trajectories" / name)
