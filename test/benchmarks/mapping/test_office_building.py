"""The walk through the simulated building."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

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
