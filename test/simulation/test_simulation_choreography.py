import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.simulation.path import PATHS, Choreography, Span, Turn
from visloc_ros.simulation.sequence import SimulationConfig, simulate


class Straight:
    """A metre a second along x."""

    def pose(self, seconds):
        return SE3(np.eye(3), np.array([seconds, 0.0, 0.0]))


@pytest.mark.parametrize(("seconds", "elapsed"), [(0.5, 0.0), (1.2, 0.1), (2.0, 0.9), (3.0, 1.8), (9.0, 1.8)])
def test_time_spent_sets_in_and_ends_smoothly(seconds, elapsed):
    assert Span(1.0, 2.0).elapsed(seconds) == pytest.approx(elapsed)


def test_a_short_span_is_all_onset_and_end():
    assert Span(0.0, 0.2).elapsed(1.0) == pytest.approx(0.1)


def test_a_halt_stops_the_walk_and_what_follows_comes_later():
    walk = Choreography(Straight(), halts=(Span(1.0, 2.0),))
    places = [float(walk.pose(seconds).translation[0]) for seconds in (1.0, 1.5, 2.5, 3.0, 4.0)]
    np.testing.assert_allclose(places, [1.0, 1.1, 1.1, 1.2, 2.2])


def test_a_turn_goes_round_the_vertical_where_the_camera_is():
    walk = Choreography(Straight(), turns=(Turn(Span(1.0, 0.7), 180.0),))
    end = walk.pose(3.0)
    assert rotation_angle_deg(end.rotation, np.eye(3)) == pytest.approx(90.0)
    np.testing.assert_allclose(end.rotation @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(end.translation, [3.0, 0.0, 0.0])


def test_a_recording_follows_the_path_it_is_given(plain_room):
    config = SimulationConfig(width=64, height=48, focal_px=48.0, rate_hz=2.0, duration_s=1.0)
    film = simulate(config, "map", plain_room, Straight())
    np.testing.assert_allclose(film.ground_truth.poses[1].translation, [0.5, 0.0, 0.0])


def test_a_room_may_be_taken_as_it_is_painted(plain_room):
    config = SimulationConfig(width=64, height=48, focal_px=48.0, light="none")
    assert simulate(config, "map", plain_room).room is plain_room


@pytest.mark.parametrize(("about", "axis"), [("x", [1.0, 0.0, 0.0]), ("optical", [0.0, 0.0, 1.0])])
def test_a_turn_about_an_axis_of_the_camera_leaves_that_axis_as_it_is(about, axis):
    walk = Choreography(PATHS["map"], turns=(Turn(Span(1.0, 0.7), 180.0, about),))
    before, after = PATHS["map"].pose(3.0), walk.pose(3.0)
    assert rotation_angle_deg(before.rotation, after.rotation) == pytest.approx(90.0)
    np.testing.assert_allclose(after.rotation @ axis, before.rotation @ axis, atol=1e-12)
