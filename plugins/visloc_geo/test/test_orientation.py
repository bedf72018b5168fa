import numpy as np
import pytest

from visloc_geo.orientation import angles_of, heading_difference_deg, rotation_of


def test_a_level_camera_that_looks_north_has_east_to_its_right():
    assert rotation_of(0.0) == pytest.approx(np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]))


def test_a_camera_that_looks_east_sees_north_on_its_left_and_low_things_below():
    camera_from_enu = rotation_of(90.0).T
    assert camera_from_enu @ [0.0, 1.0, 0.0] == pytest.approx([-1, 0, 0])
    assert camera_from_enu @ [0.0, 0.0, -1.0] == pytest.approx([0, 1, 0])


@pytest.mark.parametrize("angles", [(10.0, 20.0, 30.0), (350.0, -80.0, -170.0), (180.0, 0.0, 0.0), (0.5, 89.0, 5.0)])
def test_angles_of_a_rotation_are_those_that_made_it(angles):
    assert angles_of(rotation_of(*angles)) == pytest.approx(angles)


def test_the_right_side_of_a_camera_is_low_where_the_roll_is_positive():
    assert rotation_of(0.0, 0.0, 20.0)[2, 0] < 0


@pytest.mark.parametrize("pitch", [90.0, -90.0])
def test_straight_up_or_down_the_heading_is_that_of_the_images_top_seen_from_above(pitch):
    heading, found, roll = angles_of(rotation_of(120.0, pitch))
    assert (found, roll) == pytest.approx((pitch, 0.0))
    assert rotation_of(heading, pitch) == pytest.approx(rotation_of(120.0, pitch), abs=1e-6)


def test_headings_differ_by_half_a_turn_at_most():
    assert heading_difference_deg(350.0, 10.0) == pytest.approx(-20.0)
    assert heading_difference_deg(10.0, 350.0) == pytest.approx(20.0)
