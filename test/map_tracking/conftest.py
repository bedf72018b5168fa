import pytest
from followed_room import FollowedRoom


@pytest.fixture(scope="session")
def room():
    """A room seen through a lens that bends straight lines plainly."""
    return FollowedRoom("strong")


@pytest.fixture(scope="session")
def place(room):
    """Its map with thumbnails."""
    return room.map_with_pictures()
