"""What is found by landmarks says which landmark each inlier is of."""

import numpy as np
import pytest

from visloc_ros.core.map import open_map
from visloc_ros.core.result_mapping import result_from_mapping, result_to_mapping
from visloc_ros.core.types import AnchorPose
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.simulation import SimulationConfig, simulate

ROOM = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")


@pytest.fixture(scope="module")
def engine(landmark_room):
    return AnchorEngine(open_map(landmark_room), AnchorConfig(search="landmarks"))


@pytest.fixture(scope="module")
def anchor(engine):
    return engine.localize(ROOM.frame(1))


def test_each_inlier_is_of_the_landmark_of_its_point(engine, anchor):
    assert isinstance(anchor, AnchorPose)
    assert anchor.map_from_camera.is_close(ROOM.pose(1), 0.05, 1.0)
    label_of = {point.tobytes(): label for point, label in zip(engine.map.points, engine.map.point_labels, strict=True)}
    expected = [label_of[point.tobytes()] for point in anchor.inlier_points]
    assert anchor.inlier_landmarks.tolist() == expected
    assert min(expected) >= 1
    assert len(set(expected)) > 1


def test_a_prior_changes_nothing_about_it(engine, anchor):
    guided = engine.localize(ROOM.frame(1), prior=ROOM.pose(1))
    assert len(guided.inlier_landmarks) == guided.num_inliers


def test_a_search_by_retrieval_tells_no_landmarks(landmark_room):
    engine = AnchorEngine(open_map(landmark_room))
    found = engine.localize(ROOM.frame(1))
    assert engine.map.point_labels is None
    assert isinstance(found, AnchorPose)
    assert len(found.inlier_landmarks) == 0


def test_they_go_through_json(anchor):
    again = result_from_mapping(result_to_mapping(anchor, with_inliers=True), anchor.stamp_ns)
    np.testing.assert_array_equal(again.inlier_landmarks, anchor.inlier_landmarks)
    assert len(result_from_mapping(result_to_mapping(anchor), anchor.stamp_ns).inlier_landmarks) == 0
    values = result_to_mapping(anchor, with_inliers=True)
    values["inlier_landmarks"].pop()
    with pytest.raises(ValueError, match="landmarks"):
        result_from_mapping(values, anchor.stamp_ns)
