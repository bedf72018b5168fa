"""What a user knows of a camera becomes the hint of a search, or an error that says what to do."""

import math

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geo_reference import GEO_SIGMA_M, GeoReference
from visloc_ros.core.types import MapIdentity
from visloc_ros.localization.rough_pose import RoughPose, rough_pose_in_words

ON_EARTH = MapIdentity("site", metric=True, gravity_aligned=True, on_earth=GeoReference(55.7, 13.2, 60.0))
ROOM = MapIdentity("room", metric=True, gravity_aligned=True)


@pytest.mark.parametrize(("words", "expected"), [("12 -3.5", [12.0, -3.5]), ("1,2, 3", [1.0, 2.0, 3.0])])
def test_a_position_is_in_the_map_with_or_without_its_height(words, expected):
    position = rough_pose_in_words(position=words, position_sigma=4.0).in_map(ROOM).position
    np.testing.assert_array_equal(position.position_in_map, expected)
    assert position.sigma_m == 4.0


def test_a_place_on_the_earth_is_east_and_north_of_the_map_with_the_errors_of_both():
    position = rough_pose_in_words(gps="55.7009 13.2", position_sigma=12.0).in_map(ON_EARTH).position
    np.testing.assert_allclose(position.position_in_map, [0.0, 100.2], atol=0.1)
    assert position.sigma_m == pytest.approx(math.hypot(12.0, GEO_SIGMA_M))


@pytest.mark.parametrize(("clockwise_from_north", "from_east"), [(0.0, 90.0), (90.0, 0.0), (200.0, -110.0)])
def test_a_heading_is_clockwise_from_the_y_axis(clockwise_from_north, from_east):
    heading = rough_pose_in_words(heading=clockwise_from_north, heading_sigma=20.0).in_map(ROOM).heading
    assert math.degrees(heading.heading_rad) == pytest.approx(from_east)
    assert math.degrees(heading.sigma_rad) == pytest.approx(20.0)


def test_a_text_is_its_embedding_and_nothing_is_no_hint():
    np.testing.assert_allclose(rough_pose_in_words(text="3 4").in_map(ROOM).text, [0.6, 0.8])
    assert RoughPose().in_map(ROOM) is None


@pytest.mark.parametrize(
    "known",
    [
        RoughPose([1.0, -2.5, 1e-7], position_sigma=3.0, text=[0.1, -0.2]),
        RoughPose(gps=[55.70000001, -13.2], position_sigma=3.0, heading_deg=200.25, heading_sigma_deg=9.0),
        RoughPose(),
    ],
)
def test_what_a_client_sends_is_what_the_server_reads(known):
    words = known.to_words()
    numbers = {name: float(words.pop(name)) for name in ("position_sigma", "heading", "heading_sigma") if name in words}
    assert rough_pose_in_words(**words, **numbers) == known


@pytest.mark.parametrize(
    ("known", "complaint"),
    [
        ({"position": "1 2"}, "with its standard deviation"),
        ({"position_sigma": 3.0}, "with its standard deviation"),
        ({"position": "1", "position_sigma": 3.0}, "'x y' or 'x y z', but 1 numbers"),
        ({"position": "here", "position_sigma": 3.0}, "here"),
        ({"position": "1 nan", "position_sigma": 3.0}, "position of a hint"),
        ({"position": "1 2", "position_sigma": -3.0}, "must be positive"),
        ({"position": "1 2", "gps": "55 13", "position_sigma": 3.0}, "not both"),
        ({"gps": "95 13", "position_sigma": 3.0}, "no place at latitude 95"),
        ({"gps": "55 13", "position_sigma": float("nan")}, "must be positive"),
        ({"heading": 90.0}, "heading with its standard deviation"),
        ({"heading": float("inf"), "heading_sigma": 3.0}, "heading of a hint"),
        ({"heading": 90.0, "heading_sigma": 0.0}, "heading must be positive"),
        ({"text": "0 0"}, "not all zero"),
        ({"text": "exit"}, "numbers of an embedding"),
    ],
)
def test_what_cannot_be_says_why(known, complaint):
    with pytest.raises(ConfigError, match=complaint):
        rough_pose_in_words(**known).in_map(ON_EARTH)


def test_a_place_on_the_earth_needs_a_map_there():
    with pytest.raises(ConfigError, match=r"'room' is on the earth is not known.*visloc align-map --gps"):
        rough_pose_in_words(gps="55.7 13.2", position_sigma=5.0).in_map(ROOM)
