import pytest

from visloc_ros.simulation.living_room import make_living_room


@pytest.fixture(scope="session")
def living_room():
    return make_living_room(seed=0)
