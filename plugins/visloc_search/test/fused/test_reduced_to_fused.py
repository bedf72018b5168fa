"""A map reduced to its fused descriptors gives what the whole one gives by them, to the last bit."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.searchable_map import open_searchable_map, reduce_map_to, searches_of
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_search.fused.preparation import prepare_fused

DEMO_MAP = Path(__file__).resolve().parents[4] / "maps" / "demo_room.tar.gz"
BY_FUSED = AnchorConfig(search="fused")
ROOM = simulate(SimulationConfig(duration_s=0.3, rate_hz=10.0), "localize")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = Path(shutil.copy(DEMO_MAP, tmp_path_factory.mktemp("whole") / "room.tar.gz"))
    prepare_fused(path)
    return path


@pytest.fixture(scope="module")
def small(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("reduced") / "room"
    reduce_map_to(whole, "fused", path)
    return path


def test_the_same_pose_is_found_with_the_same_covariance(whole, small):
    of_whole = AnchorEngine(open_map(whole), BY_FUSED)
    of_small = AnchorEngine(open_searchable_map(small), BY_FUSED, of_whole.extractor, of_whole.matcher)
    query = of_whole.extract(ROOM.frame(0))
    one, other = of_whole.solve(query), of_small.solve(query.for_another_search())
    assert isinstance(one, AnchorPose)
    assert one.map_from_camera.is_close(ROOM.pose(0), 0.05, 1.0)
    for name in ("rotation", "translation"):
        assert getattr(one.map_from_camera, name).tobytes() == getattr(other.map_from_camera, name).tobytes()
    assert one.covariance.tobytes() == other.covariance.tobytes()


def test_only_what_the_search_needs_is_kept(whole, small):
    place = open_searchable_map(small)
    assert searches_of(place.manifest) == ["fused"]
    assert {path.relative_to(small).parts[0] for path in small.rglob("*") if path.is_file()} == {
        "fused",
        "manifest.json",
    }
    assert np.array_equal(place.points, AnchorEngine(open_map(whole), BY_FUSED).map.points)
