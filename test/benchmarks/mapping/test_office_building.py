"""The walk through the simulated building, and how its figures are carried on to maps that nobody has built."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from benchmarks.mapping.large_tables import all_tables, exponent
from benchmarks.mapping.office_building import IMAGES_A_ROOM, OfficeBuilding
from visloc_ros.core.geometry import rotation_angle_deg


@pytest.fixture(scope="module")
def building() -> OfficeBuilding:
    return OfficeBuilding(3)


def test_the_walk_goes_through_all_rooms_without_jumps(building: OfficeBuilding) -> None:
    poses = building.poses()
    places = np.array([pose.translation for pose in poses])
    assert len(poses) == 3 * IMAGES_A_ROOM
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 0.25
    turns = [rotation_angle_deg(one.rotation, other.rotation) for one, other in pairwise(poses)]
    assert max(turns) < 20.0
    for x, side in ((3.0, 1.0), (3.0, -1.0), (9.0, 1.0)):
        in_room = (np.abs(places[:, 0] - x) < 3.0) & (side * places[:, 1] > 1.2)
        assert in_room.sum() > 80
    assert places[:, 0].min() > 1.0
    assert places[:, 0].max() < 11.0  # a metre before the wall at the corridor's end
    near_wall = np.abs(np.abs(places[:, 1]) - 1.2) < 0.1
    assert np.abs((places[near_wall, 0] % 6.0) - 3.0).max() < 0.7  # through the doors


def test_a_walk_that_leads_on_stops_before_the_wall_at_the_end() -> None:
    places = np.array([pose.translation for pose in OfficeBuilding(2).poses()])
    assert places[:, 0].max() == pytest.approx(5.0)


def test_an_image_depends_on_its_number_alone(building: OfficeBuilding) -> None:
    several, [alone] = list(building.images(210, 212)), list(building.images(211, 212))
    assert np.array_equal(several[1], alone)
    assert alone.std() > 20.0


def figures(images: int) -> dict[str, Any]:
    """Of a build whose parts take a second an image, of which training grows with the square, in one process."""
    costs = {
        "extract": {"tasks": images // 64, "core_s": 1.0 * images, "longest_s": 64.0, "peak_mb": 300.0},
        "train": {"tasks": 1, "core_s": 1e-3 * images**2, "longest_s": 1e-3 * images**2, "peak_mb": 0.5 * images},
    }
    return {
        "images": images, "registered": images, "wall_s": 2.0 * images**1.1, "caller_s": {"train": 9.0, "save": 0.0},
        "caller_mb": 200.0 + 0.05 * images, "costs": costs,
        "median_m": 0.01, "largest_m": 0.02, "median_deg": 0.1, "largest_deg": 0.2,
    }  # fmt: skip


def test_growth_is_found_and_carried_on() -> None:
    sizes = {str(count): figures(count) for count in (100, 1000)}
    assert exponent(list(sizes.values()), [one["wall_s"] for one in sizes.values()]) == pytest.approx(1.1)
    text = all_tables(sizes, {}, {})
    assert "Time grows as n^1.10, core-seconds as n^1.26." in text
    assert "| train | 1 | 1000 | 1000.0 s | 500 MB | n^2.00 |" in text
    core_hours = (10_000 + 1e-3 * 10_000**2) / 3600
    assert f"| 10,000 | {core_hours:.1f} | ${0.04 * core_hours:.2f} |" in text
    assert "| 0.7 GB |" in text
