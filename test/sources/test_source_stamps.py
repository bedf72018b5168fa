import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.layouts import natural_key, snap_stamps, stamps_at_rate, stamps_from_names


def test_numbers_in_names_sort_by_value():
    names = ["image10.jpg", "image9.jpg", "a2b10.jpg", "a2b9.jpg", "image09b.jpg", "x.jpg", "a1²3.jpg"]
    assert sorted(names, key=natural_key) == [
        "a1²3.jpg",
        "a2b9.jpg",
        "a2b10.jpg",
        "image9.jpg",
        "image09b.jpg",
        "image10.jpg",
        "x.jpg",
    ]


@pytest.mark.parametrize(
    ("stems", "stamps_ns"),
    [
        (["1403638538577829376", "1403638538627829504"], [1403638538577829376, 1403638538627829504]),
        (["0", "33333333", "66666667"], [0, 33333333, 66666667]),
        (["1403638538577829376"], [1403638538577829376]),
        (["1305031102.175304", "1305031102.211214"], [1305031102175304000, 1305031102211214000]),
        (["1700000000", "1700000001"], [1700000000_000000000, 1700000001_000000000]),
        (["1700000000123", "1700000000323"], [1700000000_123000000, 1700000000_323000000]),
        (["1700000000123456", "1700000000323456"], [1700000000_123456000, 1700000000_323456000]),
        (["0", "200000", "400000"], [0, 200_000_000, 400_000_000]),  # microseconds
        (["20240501120000", "20240501120001"], [1714564800_000000000, 1714564801_000000000]),
        (["20240501120000250"], [1714564800_250000000]),
        (["1700000000123456"], [1700000000_123456000]),
        (["1000000000", "1033333333", "1066666666"], [1000000000, 1033333333, 1066666666]),  # a second after a start
        (["1500000000000", "1500033333333"], [1500000000000, 1500033333333]),  # 25 minutes after one
        (["99999999999999999999", "99999999999999999998"], None),
        (["000000", "000001", "000002"], None),
        (["000500", "000510"], None),
        (["7"], None),
        (["DSC0001", "DSC0002"], None),
        (["1403638538577829376", "cover"], None),
        ([], None),
    ],
)
def test_stamps_are_read_from_names_that_are_times_and_from_no_others(stems, stamps_ns):
    assert stamps_from_names(stems) == stamps_ns


def test_rate_gives_rounded_nanoseconds_that_do_not_drift():
    assert stamps_at_rate([0, 1, 2, 3], 30.0) == [0, 33333333, 66666667, 100000000]
    assert stamps_at_rate([3_000_000], 30.0) == [100_000_000_000_000]


def test_poses_rounded_to_microseconds_get_the_stamps_of_their_images():
    images = [0, 33333333, 66666667]
    trajectory = Trajectory(np.array([0, 33333000, 50000000, 66667000]), (SE3.identity(),) * 4)
    assert snap_stamps(trajectory, images).stamps_ns.tolist() == [0, 33333333, 50000000, 66666667]
    assert snap_stamps(trajectory, [40000000, 50000999]).stamps_ns.tolist() == [0, 33333000, 50000999, 66667000]
    assert snap_stamps(trajectory, [33333333]).stamps_ns.tolist() == [0, 33333333, 50000000, 66667000]
