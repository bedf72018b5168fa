"""The paths through the simulated room, and what a choreography makes of one."""

import itertools

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_vector
from visloc_ros.simulation.path import PATHS, Choreography, EasedPath, Span, Turn
from visloc_ros.simulation.sequence import SimulationConfig, simulate

STEP = 0.02
TIMES = np.arange(0.0, 40.0, STEP)


@pytest.fixture(params=PATHS, scope="module")
def poses(request):
    return [PATHS[request.param].pose(seconds) for seconds in TIMES]


def positions(poses):
    return np.array([pose.translation for pose in poses])


def turns(poses):
    """Angular velocity (N - 1, 3) in degrees a second, in the map frame."""
    steps = [rotation_vector(b.rotation @ a.rotation.T) for a, b in itertools.pairwise(poses)]
    return np.degrees(steps) / STEP


def test_the_camera_walks_and_turns_as_a_person_or_robot_does(poses):
    velocity = np.diff(positions(poses), axis=0) / STEP
    acceleration = np.diff(velocity, axis=0) / STEP
    assert np.linalg.norm(velocity, axis=1).max() < 0.8
    assert np.linalg.norm(acceleration, axis=1).max() < 1.6
    assert np.linalg.norm(turns(poses), axis=1).max() < 60
    assert np.linalg.norm(np.diff(turns(poses), axis=0), axis=1).max() / STEP < 120


def test_the_first_second_moves_sideways(poses):
    """Monocular odometry needs parallax to start, which rotation hides."""
    first_from_map = poses[0].inverse
    moved = first_from_map @ poses[50].translation
    assert np.hypot(moved[0], moved[1]) > 0.25
    assert abs(moved[0]) > abs(moved[2])
    assert np.linalg.norm(turns(poses[:25]), axis=1).max() < 20


def test_the_camera_is_held_upright_at_the_height_of_a_chest(poses):
    heights = positions(poses)[:, 2]
    assert heights.min() > 1.15
    assert heights.max() < 1.7
    downward = np.array([pose.rotation[2, 1] for pose in poses])
    assert downward.max() < np.cos(np.radians(160))


def test_the_path_stays_clear_of_walls_and_furniture(poses, living_room):
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    around = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(24)])
    places = positions(poses)[::40]
    origins, directions = np.repeat(places, 24, axis=0), np.tile(around, (len(places), 1))
    assert living_room.cast(origins, directions).distances.min() > 0.5
    # Whatever is inside a piece of furniture cannot be seen from under the ceiling.
    assert np.all(living_room.visible_from((3.0, 2.0, 2.5), positions(poses)[::20]))


def test_the_camera_looks_all_around_the_room_from_a_fair_distance(poses, living_room):
    views = np.array([pose.rotation[:, 2] for pose in poses])
    headings = np.histogram(np.arctan2(views[:, 1], views[:, 0]), bins=8, range=(-np.pi, np.pi))[0]
    assert headings.min() > 0.03 * len(poses)
    seen = living_room.cast(positions(poses)[::50], views[::50]).distances
    assert seen.min() > 0.8
    assert seen.max() < 6.5
    assert 2.0 < np.median(seen) < 5.0


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


def test_an_eased_path_sets_out_and_stops_gently_and_keeps_to_the_path():
    path, rate_hz = EasedPath(PATHS["localize"], 3.0), 20.0
    places = np.array([path.pose(index / rate_hz).translation for index in range(-1, 62)])
    accelerations = np.diff(places, n=2, axis=0) * rate_hz**2
    assert np.linalg.norm(accelerations, axis=1).max() < 4.0
    assert np.allclose(places[1], PATHS["localize"].pose(0.0).translation)
    assert np.allclose(places[-1], PATHS["localize"].pose(2.5).translation)  # half a second is lost on the way
    assert np.allclose(path.pose(1.5).translation, PATHS["localize"].pose(1.25).translation)
