import numpy as np
import pytest

from visloc_ros.core.geometry import rotation_vector
from visloc_ros.simulation.fusion_scenario import PATHS, RISE, camera_poses

STEP = 0.02
TIMES = np.arange(0.0, 60.0, STEP)
SPEED = 0.6
FORWARD = np.array([0.0, 0.0, 1.0])


@pytest.fixture(params=PATHS)
def way(request):
    return request.param, *camera_poses(request.param, TIMES, SPEED)


def test_motion_has_no_jumps(way):
    path, rotations, positions = way
    speeds = np.linalg.norm(np.diff(positions, axis=0), axis=1) / STEP
    turns = np.linalg.norm(rotation_vector(np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]), axis=1) / STEP
    assert speeds.max() <= 1.5 * SPEED
    assert turns.max() < 2.0
    if path != "still":
        assert speeds.max() == pytest.approx(SPEED, rel=0.5)
    else:
        assert speeds.max() == 0.0


def test_the_camera_looks_where_it_goes(way):
    path, rotations, positions = way
    steps = np.diff(positions, axis=0)[:, :2]
    moving = np.linalg.norm(steps, axis=1) > 0.3 * SPEED * STEP
    looks = (rotations @ FORWARD)[:-1, :2]
    ahead = np.sum(steps * looks, axis=1)[moving] / np.linalg.norm(steps[moving], axis=1)
    assert moving.any() == (path != "still")
    assert np.all(ahead > 0.9)


def test_rotations_are_rotations(way):
    _, rotations, _ = way
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, 1, 2), np.tile(np.eye(3), (len(TIMES), 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_turns_on_the_spot_move_nothing_and_sides_turn_nothing():
    positions, headings = PATHS["turns"](TIMES, SPEED)
    moves = np.linalg.norm(np.diff(positions, axis=0), axis=1) > 1e-9
    turns = np.diff(headings) > 1e-9
    assert moves.any()
    assert turns.any()
    assert np.mean(moves & turns) < 0.01


def test_stairs_rise_and_stops_stop():
    heights = PATHS["stairs"](TIMES, SPEED)[0][:, 2]
    assert np.all(np.diff(heights) >= 0.0)
    assert heights[-1] - heights[0] > 4 * RISE
    stopping = PATHS["stop_and_go"](TIMES, SPEED)[0]
    assert np.mean(np.linalg.norm(np.diff(stopping, axis=0), axis=1) < 1e-12) == pytest.approx(0.5, abs=0.05)
