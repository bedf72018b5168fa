"""Two rooms of one shape, whose walls show different things, are no loop; two views of one room are."""

import pytest

from benchmarks.mapping.office_building import OfficeBuilding
from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher
from visloc_ros.mapping import MappingConfig
from visloc_ros.mapping.matching import support_loop

LEAST = MappingConfig().pairs.loop_min_matches
ACROSS = ((60, 292), (71, 281))
"""Views into the first room and into that across the corridor, nine metres away."""
SAME = ((165, 207), (165, 210))
"""Views from the first room and from the corridor before it, in which nearest neighbours alone are few."""


@pytest.fixture(scope="module")
def matched():
    """For each pair of views, their features and LightGlue's matches."""
    building, extractor = OfficeBuilding(2), make_extractor(FeatureConfig(device="cpu", precision="float32"))
    matcher = make_matcher(MatcherConfig(device="cpu", precision="float32"), "aliked-n16")  # on any processor alike
    found = {}
    for pair in (*ACROSS, *SAME):
        a, b = (extractor.extract(next(building.images(row, row + 1))) for row in pair)
        found[pair] = a, b, matcher.match(a, b).pairs
    return found


@pytest.mark.parametrize("pair", ACROSS)
def test_rooms_of_one_shape_are_no_loop_though_the_network_matches_them(matched, pair):
    a, b, rows = matched[pair]
    assert len(rows) >= LEAST
    assert not support_loop(a, b, rows, LEAST)


@pytest.mark.parametrize("pair", SAME)
def test_views_of_one_room_are_a_loop(matched, pair):
    a, b, rows = matched[pair]
    assert support_loop(a, b, rows, LEAST)
