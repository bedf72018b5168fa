"""An exactly known map, and a pose in it that no map image has."""

import pytest
from synthetic_map import World, near_image


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def near(world):
    return near_image(world)
