"""An exactly known map, and a pose in it that no map image has."""

import numpy as np
import pytest
from synthetic_map import World

from visloc_ros.core.geometry import SE3, rotation_matrix


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def near(world):
    """A pose near the third map image, seen by no map image."""
    pose = world.map.images[2].map_from_camera
    return SE3(pose.rotation @ rotation_matrix([0.03, -0.04, 0.05]), pose.translation + np.array([0.1, -0.05, 0.08]))
