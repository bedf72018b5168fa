"""The room that the rigs are in, and where they stand."""

import numpy as np
import pytest
from rig_world import Room

from visloc_ros.core.geometry import SE3, rotation_matrix


@pytest.fixture(scope="module")
def room():
    return Room()


@pytest.fixture
def body():
    """A pose of the rig."""
    return SE3(rotation_matrix([0.02, -0.03, 0.7]), np.array([0.4, -0.3, 0.1]))
