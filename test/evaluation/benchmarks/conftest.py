"""Views of the simulated room, rendered once: the database's and the queries', with their exact poses."""

import pytest

from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.datasets import seven_scenes_camera

QUERIES = (3, 6, 9)
NUM_VIEWS = 13
SIMULATION = SimulationConfig(duration_s=6.5, rate_hz=2.0, samples=1, light="none", exposure_ms=0.0, noise_std=1.0)


@pytest.fixture(scope="session")
def views():
    """Pairs of image and ``map_from_camera``, of the database and of the queries, by the camera of 7-Scenes."""
    room = simulate(SIMULATION, "map")
    room.camera = seven_scenes_camera()
    taken = {index: (room.frame(index).image, room.pose(index)) for index in range(NUM_VIEWS)}
    queries = [taken.pop(index) for index in QUERIES]
    return list(taken.values()), queries
