"""The engine says no where it must: a small part of ``benchmarks/anchor/out_of_map.py``, on the demo map.

The map is of the simulated room. Every image is tried without a prediction and with a false one.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testing.corruptions import false_prior, mirrored, patterns, turned_upside_down, upside_down
from testing.integrity import IntegrityQuery, Outcome, attempt
from testing.look_alike import make_look_alike
from visloc_ros.core.map import open_map
from visloc_ros.localization import AnchorEngine
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.living_room import make_living_room

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"
CONFIG = SimulationConfig(
    rate_hz=0.2, duration_s=20.0, exposure_ms=0.0, samples=2, width=480, height=360, focal_px=360.0
)
NUM_PATTERNS = 6


@pytest.fixture(scope="module")
def engine():
    return AnchorEngine(open_map(DEMO_MAP))


@pytest.fixture(scope="module")
def room():
    return make_living_room()


@pytest.fixture(scope="module")
def visit(room):
    """A second look at the mapped room: frames and true poses."""
    simulation = simulate(CONFIG, "localize", room)
    return [(simulation.frame(index), simulation.pose(index)) for index in range(len(simulation))]


def try_both(engine, group, frame, truth=None):
    """Outcomes without a prediction and with a false one; an image that is not found is searched turned, too."""
    rng = np.random.default_rng(frame.stamp_ns % 1000)
    query = IntegrityQuery(group, frame, None, truth)
    return [
        attempt(engine, query),
        attempt(engine, query, "false", false_prior(engine.map, rng, truth)),
    ]


def wrong(attempts):
    return [one for one in attempts if one.outcome is Outcome.WRONG]


def test_the_mapped_room_is_found_whatever_was_predicted(engine, visit):
    attempts = [one for frame, pose in visit for one in try_both(engine, "room", frame, pose)]
    assert not wrong(attempts)
    assert sum(one.outcome is Outcome.RIGHT for one in attempts) >= 0.9 * len(attempts)


def test_a_camera_upside_down_is_found_upside_down(engine, visit):
    for frame, pose in visit[::3]:
        attempts = try_both(engine, "upside down", upside_down(frame), turned_upside_down(pose))
        assert {one.outcome for one in attempts} == {Outcome.RIGHT}


def test_a_room_with_the_same_pictures_on_other_walls_is_refused(engine, room):
    simulation = simulate(CONFIG, "map", make_look_alike(room, seed=101))
    assert not wrong(try_both(engine, "look-alike", simulation.frame(0)))


def test_the_room_in_a_mirror_is_refused(engine, visit):
    assert not wrong(one for frame, _ in visit[::6] for one in try_both(engine, "mirrored", mirrored(frame)))


@pytest.mark.parametrize("index", range(NUM_PATTERNS))
def test_an_image_of_no_place_is_refused(engine, visit, index):
    kind, frame = list(patterns(visit[0][0].camera, NUM_PATTERNS, seed=1))[index]
    assert not wrong(try_both(engine, kind, replace(frame, stamp_ns=index)))
