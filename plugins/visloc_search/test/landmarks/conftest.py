"""Maps that no test changes, and their landmarks."""

import pytest
from landmark_places import UPRIGHT, hall
from landmark_worlds import make_landmark_map


@pytest.fixture(scope="session")
def hall_map():
    return hall()


@pytest.fixture(scope="session")
def upright_map():
    """Seen by a camera that is higher than wide, and distorts."""
    return hall(camera=UPRIGHT, images=60)


@pytest.fixture(scope="session", params=["wide", "upright and distorted"])
def full_map(request, hall_map, upright_map):
    return hall_map if request.param == "wide" else upright_map


@pytest.fixture(scope="session")
def landmark_map(full_map):
    return make_landmark_map(full_map)
