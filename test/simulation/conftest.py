import numpy as np
import pytest

from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Room, make_quad
from visloc_ros.simulation.textures import plaster


@pytest.fixture(scope="session")
def living_room():
    return make_living_room(seed=0)


@pytest.fixture(scope="session")
def plain_room():
    """Six plastered walls of the living room's size: quick to make and to render."""
    size = np.array([6.0, 5.0, 2.8])
    walls = []
    for axis, sign in ((axis, sign) for axis in range(3) for sign in (-1, 1)):
        inward, up = -sign * np.eye(3)[axis], np.eye(3)[2 if axis < 2 else 1]
        width, height = abs(np.cross(up, inward)) @ size, abs(up) @ size
        texture = plaster((150, 140, 130))(np.random.default_rng(len(walls)), width, height, 60.0)
        centre = 0.5 * size - 0.5 * size[axis] * inward
        walls.append(make_quad(f"wall {axis} {sign}", centre, inward, up, (width, height), texture))
    return Room(tuple(walls))
