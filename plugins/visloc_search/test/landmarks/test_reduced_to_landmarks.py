"""A map reduced to its landmarks gives what the whole one gives when it is searched by them, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose, TrackedPose
from visloc_ros.localization import AnchorConfig, AnchorEngine, MultiMapEngine, PoseConfig
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.localization.searchable_map import open_searchable_map, prepared_map, reduce_map_to, searches_of
from visloc_ros.map_tracking import MapTracker
from visloc_ros.simulation import SimulationConfig, simulate

DEMO_MAP = Path(__file__).resolve().parents[4] / "maps" / "demo_room.tar.gz"
BY_LANDMARKS = AnchorConfig(search="landmarks")
ROOM = simulate(SimulationConfig(duration_s=0.3, rate_hz=10.0), "localize")


@pytest.fixture(scope="module")
def small(landmark_room, tmp_path_factory):
    path = tmp_path_factory.mktemp("reduced") / "room"
    reduce_map_to(landmark_room, "landmarks", path)
    return path


@pytest.fixture(scope="module")
def engines(landmark_room, small):
    """Of the whole map and of the reduced one."""
    whole = AnchorEngine(open_map(landmark_room), BY_LANDMARKS)
    return whole, AnchorEngine(open_searchable_map(small), BY_LANDMARKS, whole.extractor, whole.matcher)


@pytest.fixture(scope="module")
def anchors(engines):
    whole, reduced = engines
    query = whole.extract(ROOM.frame(0))
    return whole.solve(query), reduced.solve(query.for_another_search())


def assert_same(one, other):
    """All that two results say but how long they took, bit by bit."""
    assert type(one) is type(other)
    values = {name: value for name, value in vars(one).items() if isinstance(value, np.ndarray)}
    values |= {"rotation": one.map_from_camera.rotation, "translation": one.map_from_camera.translation}
    again = {**vars(other), **vars(other.map_from_camera)}
    assert {name: value.tobytes() for name, value in values.items()} == {name: again[name].tobytes() for name in values}


def test_the_same_pose_is_found_with_the_same_covariance(anchors):
    assert isinstance(anchors[0], AnchorPose)
    assert anchors[0].map_from_camera.is_close(ROOM.pose(0), 0.05, 1.0)
    assert_same(*anchors)


def test_the_same_points_are_followed_to_the_same_poses(engines, small, anchors):
    tracked = []
    for map_, anchor in zip((engines[0].map, open_searchable_map(small)), anchors, strict=True):
        tracker = MapTracker(map_)
        tracker.track(ROOM.frame(0))
        tracker.restart(anchor)
        tracked.append([tracker.track(ROOM.frame(row)) for row in (1, 2)])
    for one, other in zip(*tracked, strict=True):
        assert isinstance(one, TrackedPose)
        assert_same(one, other)


def test_it_opens_as_a_map_with_images_and_points(engines, small):
    place, searched = open_searchable_map(small), engines[0].map
    assert [image.name for image in place.images] == [image.name for image in searched.images]
    assert np.array_equal(place.points, searched.points)
    assert np.array_equal(place.camera_positions, searched.camera_positions)
    assert place.identity == searched.identity
    assert searches_of(place.manifest) == ["landmarks"]


def test_it_keeps_what_the_whole_map_is_off_by_whatever_options_are_asked_for(landmark_room, small):
    place, otherwise = open_searchable_map(small), PoseConfig(max_error_px=9.0)
    stored = place.manifest.uncertainty
    assert stored == map_uncertainty(open_map(landmark_room)).info
    assert stored == map_uncertainty(place, otherwise).info


def test_another_search_is_refused_with_what_to_do(engines, small):
    place, models = open_searchable_map(small), (engines[0].extractor, engines[0].matcher)
    with pytest.raises(MapError, match=r"--search landmarks.*bring the whole map"):
        AnchorEngine(place, AnchorConfig(), *models)
    with pytest.raises(MapError, match=r"--search landmarks.*bring the whole map"):
        MultiMapEngine([place], AnchorConfig(), *models)


def test_several_are_searched_at_once(engines, small, anchors):
    several = MultiMapEngine([open_searchable_map(small)], BY_LANDMARKS, engines[0].extractor, engines[0].matcher)
    found = several.localize(ROOM.frame(0))
    assert found.map == engines[0].map_identity
    assert found.result.map_from_camera.is_close(anchors[0].map_from_camera, 0.01, 0.1)


def test_whole_maps_open_as_ever(landmark_room):
    place = open_searchable_map(landmark_room)
    assert searches_of(place.manifest) == ["retrieval", "landmarks"]
    assert len(place.points) == len(open_map(landmark_room).points)


def test_what_cannot_be_reduced_is_refused_and_nothing_is_written(small, tmp_path):
    for path, complaint in ((small, "bring the whole map"), (DEMO_MAP, "no way of searching, not for landmarks")):
        with pytest.raises(MapError, match=complaint):
            reduce_map_to(path, "landmarks", tmp_path / "again")
    assert not list(tmp_path.iterdir())


def test_a_search_that_is_not_known_here_is_named(small):
    with pytest.raises(MapError, match="install the package that provides it"):
        prepared_map(open_searchable_map(small), "magic")
