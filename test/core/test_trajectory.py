from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory, seconds_to_ns, write_tum
from visloc_ros.core.trajectory_files import read_tum


def straight_line(count: int = 5) -> Trajectory:
    stamps = 1_700_000_000_123_456_789 + np.arange(count) * 1_000_000_000
    return Trajectory(stamps, tuple(SE3.from_rotation_vector([0, 0, 0.1 * i], [float(i), 0, 0]) for i in range(count)))


def test_tum_round_trip_keeps_every_nanosecond(tmp_path):
    trajectory = straight_line()
    write_tum(tmp_path / "a.tum", trajectory.stamps_ns, trajectory.poses)
    again = read_tum(tmp_path / "a.tum")
    assert np.array_equal(again.stamps_ns, trajectory.stamps_ns)
    assert all(a.is_close(b, 1e-8, 1e-5) for a, b in zip(again.poses, trajectory.poses, strict=True))


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1.5", 1_500_000_000),
        ("1403638128.445096925", 1_403_638_128_445_096_925),
        ("-0.25", -250_000_000),
        ("3", 3 * 10**9),
        ("1e-3", 10**6),
        (".5", 5 * 10**8),
    ],
)
def test_seconds_are_parsed_without_rounding(text, nanoseconds):
    assert seconds_to_ns(text) == nanoseconds


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no poses"),
        ("# only a comment\n", "no poses"),
        ("1 2 3\n", "a.tum:1: 3 columns, expected 8"),
        ("0 0 0 0 0 0 0 1\nx 0 0 0 0 0 0 1\n", "a.tum:2: not a number"),
        ("0 0 0 nan 0 0 0 1\n", "finite"),
        ("0 0 0 0 0 0 0 0.5\n", "unit length"),
        ("1 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 1\n", "a.tum:2: the same stamp as in line 1"),
    ],
)
def test_bad_files_are_refused_in_words(tmp_path, content, words):
    path = tmp_path / "a.tum"
    path.write_text(content)
    with pytest.raises(SourceError, match=words):
        read_tum(path)


def test_absent_file():
    with pytest.raises(SourceError, match="cannot read"):
        read_tum(Path("nowhere.tum"))


def test_interpolation_and_nearest():
    trajectory = straight_line()
    start = int(trajectory.stamps_ns[0])
    halfway = trajectory.interpolate(start + 1_500_000_000)
    assert halfway is not None
    assert halfway.is_close(SE3.from_rotation_vector([0, 0, 0.15], [1.5, 0, 0]), 1e-9, 1e-6)
    assert trajectory.interpolate(start) is trajectory.poses[0]
    assert trajectory.interpolate(start - 1) is None
    assert trajectory.interpolate(int(trajectory.stamps_ns[-1]) + 1) is None
    assert trajectory.nearest(start + 1_400_000_000, 500_000_000) is trajectory.poses[1]
    assert trajectory.nearest(start + 1_400_000_000, 300_000_000) is None


def test_stamps_must_increase():
    with pytest.raises(ValueError, match="increasing"):
        Trajectory(np.array([1, 1]), (SE3.identity(), SE3.identity()))
