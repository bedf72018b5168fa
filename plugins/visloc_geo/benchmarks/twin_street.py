"""A street whose second half is the first one again, its map on the earth, and photos of its western side."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from plugins.visloc_geo.testing.street import LENGTH_M, make_street
from plugins.visloc_geo.testing.street_views import ORIGIN
from visloc_geo.orientation import rotation_of
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map, open_map
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.room import Room

APART_M = 0.5 * LENGTH_M
"""From a house to its twin."""

_WEST_DEG, _EYES_M, _TILT_DEG = 270.0, 1.6, 4.0
_STEP_M, _SWING_DEG = 2.0, 30.0  # of the map's images
_OFF_AXIS_M, _TURN_DEG = 4.0, 20.0  # of photos
_FROM_ENDS_M = 15.0  # photos of what stands there show which end it is


def twin_street(seed: int) -> Room:
    """The street, painted."""
    return make_street(seed, LENGTH_M, copies=2)


def random_views(count: int, seed: int) -> list[SE3]:
    """Poses ``enu_from_camera`` of photos of the western side, where its twin is there as well."""
    rng, poses = np.random.default_rng([seed, 40]), []
    for number in range(count):
        half = -0.5 * LENGTH_M + APART_M * (number % 2)
        north = half + float(rng.uniform(_FROM_ENDS_M, APART_M - _FROM_ENDS_M))
        centre = np.array([rng.uniform(-_OFF_AXIS_M, _OFF_AXIS_M), north, _EYES_M + rng.normal(0.0, 0.1)])
        pitch, roll = rng.normal(0.0, _TILT_DEG, 2)
        heading = _WEST_DEG + float(rng.normal(0.0, _TURN_DEG))
        poses.append(SE3(rotation_of(heading, pitch + _TILT_DEG, roll), centre))
    return poses


def open_street_map(work: Path, seed: int) -> Map:
    """The map of the western side by day, at its place on the earth; built if missing."""
    path = work / f"street_{seed}"
    if not path.exists():
        walked = 0.9 * LENGTH_M
        config = SimulationConfig(
            rate_hz=1.0, duration_s=walked / _STEP_M, exposure_ms=0.0, light="none", exposure_drift_ev=0.0, seed=seed
        )
        source = simulate(config, "map", twin_street(seed), _Walk(-0.5 * walked))
        upright = MappingConfig(frame=FrameConfig(gravity="reference"))
        build_map(source, path, upright, reference_poses=source.ground_truth)
    found = open_map(path)
    origin = {"latitude": ORIGIN.latitude, "longitude": ORIGIN.longitude, "altitude": ORIGIN.altitude}
    return replace(found, manifest=replace(found.manifest, geo_origin=origin))


@dataclass(frozen=True)
class _Walk:
    """The way along the street that the map is made from, a step a second, the camera swinging."""

    south: float

    def pose(self, seconds: float) -> SE3:
        """``enu_from_camera`` at a time."""
        heading = _WEST_DEG + _SWING_DEG * float(np.sin(seconds))
        return SE3(rotation_of(heading, _TILT_DEG), np.array([0.0, self.south + _STEP_M * seconds, _EYES_M]))
