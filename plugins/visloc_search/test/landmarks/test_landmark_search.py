"""Images found by the landmarks that are recognised in them, and refused where these do not hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from landmark_worlds import NearestRecogniser, make_landmark_map

from visloc_ros.core.errors import MapError, ModelError
from visloc_ros.core.map import LocalFeatures, open_map
from visloc_ros.core.result_mapping import result_from_mapping, result_to_mapping
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Frame, Reason
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_search.landmarks.searcher import LandmarkSearcher, rank_landmarks

ROOM = Path(__file__).parents[4] / "maps" / "demo_room.tar.gz"
BY_LANDMARKS = AnchorConfig(search="landmarks")
SIMULATED = simulate(SimulationConfig(duration_s=4.0, rate_hz=1.0), "localize")


@pytest.fixture(scope="module")
def room():
    return open_map(ROOM)


@pytest.fixture(scope="module")
def landmarks(room):
    return make_landmark_map(room)


class Scripted:
    """Recognises as the nearest neighbour does, and then whatever the test wants."""

    background_threshold = 1.0

    def __init__(self, landmarks, change=lambda probabilities: probabilities):
        points = landmarks.points
        self._nearest = NearestRecogniser(points.descriptors, points.labels, landmarks.num_landmarks + 1)
        self.num_classes, self._change = landmarks.num_landmarks + 1, change

    def recognise(self, features):
        return self._change(self._nearest.recognise(features))


def frame_of(image):
    pixels = np.zeros((image.camera.height, image.camera.width), np.uint8)
    return Frame(0, pixels, image.camera, image.name)


def query_of(image, features=None):
    return Query(frame_of(image), features or image.features, Stopwatch())


def searched(landmarks, image, change=lambda probabilities: probabilities, features=None):
    searcher = LandmarkSearcher(landmarks, Scripted(landmarks, change), AnchorConfig(), NearestMatcher())
    return list(searcher.gather(query_of(image, features), None))


def is_right(evidence, image):
    pose = evidence.solution.map_from_camera
    return np.linalg.norm(pose.translation - image.map_from_camera.translation) < 0.02


@pytest.mark.parametrize("row", [0, 9, 21])
def test_the_first_landmark_gives_the_pose(room, landmarks, row):
    assert is_right(searched(landmarks, room.images[row])[0], room.images[row])


def test_where_the_first_landmark_is_wrong_another_one_gives_the_pose(room, landmarks):
    image = room.images[9]
    right = Scripted(landmarks).recognise(image.features).argmax(axis=1)
    absent = next(label for label in range(1, landmarks.num_landmarks + 1) if (right == label).sum() < 3)

    def confuse(probabilities):
        """Most tokens of the best landmark are taken for one that is not in view."""
        changed = probabilities.copy()
        best = np.bincount(right[right > 0]).argmax()
        rows = np.flatnonzero(right == best)
        changed[rows[: 2 * len(rows) // 3]] = np.eye(changed.shape[1])[absent]
        return changed

    assert is_right(searched(landmarks, image, confuse)[0], image)


def test_wrong_labels_of_all_tokens_do_not_hide_the_pose(room, landmarks):
    """Labels and points have too little in common: all tokens are matched with the whole frame."""
    image = room.images[9]
    found = searched(landmarks, image, lambda probabilities: np.roll(probabilities, 1, axis=1))
    assert any(is_right(one, image) for one in found if one.solution is not None)


def test_an_image_that_is_all_background_gives_evidence_that_is_refused_or_right(room, landmarks):
    image = room.images[9]
    background = np.eye(landmarks.num_landmarks + 1, dtype=np.float32)[0]
    last = searched(landmarks, image, lambda probabilities: np.tile(background, (len(probabilities), 1)))[-1]
    assert last.refusal is not None or is_right(last, image)


def test_what_shows_nothing_of_the_map_is_hopeless(room, landmarks):
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(300, 128)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform(0, 480, (300, 2)).astype(np.float32)
    features = LocalFeatures(keypoints, np.ones(300, np.float32), descriptors, (640, 480))
    found = searched(landmarks, room.images[0], features=features)
    assert [one.refusal for one in found] in ([Reason.FEW_MATCHES], [Reason.FEW_INLIERS])


# Six tokens, background and three landmarks.
PROBABILITIES = np.array(
    [
        [0.1, 0.6, 0.2, 0.1],
        [0.1, 0.5, 0.3, 0.1],
        [0.2, 0.1, 0.6, 0.1],
        [0.7, 0.1, 0.0, 0.2],
        [0.1, 0.7, 0.1, 0.1],
        [0.8, 0.0, 0.1, 0.1],
    ],
    np.float32,
)


def labels_and_rows(ranked):
    return [(one.label, one.token_rows.tolist()) for one in ranked]


def test_landmarks_come_by_rank_and_then_by_the_number_of_tokens():
    assert labels_and_rows(rank_landmarks(PROBABILITIES)) == [(1, [0, 1, 4]), (2, [2]), (3, [3])]


def test_a_rank_with_more_tokens_does_not_come_before_a_better_rank():
    probabilities = np.array([[0.0, 0.9, 0.06, 0.04]] + [[0.6, 0.0, 0.3, 0.1]] * 5, np.float32)
    assert [one.label for one in rank_landmarks(probabilities)] == [1, 2, 3]


def test_every_landmark_comes_once_and_background_never():
    probabilities = np.random.default_rng(0).random((50, 9)).astype(np.float32)
    assert sorted(one.label for one in rank_landmarks(probabilities)) == list(range(1, 9))


def test_of_as_many_tokens_the_lower_number_comes_first():
    probabilities = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], np.float32)
    assert [one.label for one in rank_landmarks(probabilities)] == [1, 2]


def test_no_tokens():
    assert list(rank_landmarks(np.zeros((0, 4), np.float32))) == []


@pytest.fixture(scope="module")
def engine(landmark_room):
    return AnchorEngine(open_map(landmark_room), BY_LANDMARKS)


class TestPreparedMap:
    def test_images_find_themselves(self, engine, room):
        images = room.images[::4]
        results = [engine.localize(frame_of(image), features=image.features) for image in images]
        assert all(isinstance(result, AnchorPose) for result in results)
        for result, image in zip(results, images, strict=True):
            assert np.linalg.norm(result.map_from_camera.translation - image.map_from_camera.translation) < 0.02

    def test_retrieval_gives_the_same_as_before(self, landmark_room, engine, room):
        image = room.images[9]
        of_both = [
            AnchorEngine(map_, AnchorConfig(), engine.extractor, engine.matcher).localize(
                frame_of(image), features=image.features
            )
            for map_ in (room, open_map(landmark_room))
        ]
        assert np.array_equal(of_both[0].map_from_camera.translation, of_both[1].map_from_camera.translation)
        assert len(of_both[1].inlier_landmarks) == 0

    def test_the_manifest_states_what_was_made(self, landmark_room):
        entry = open_map(landmark_room).manifest.prepared["landmarks"]
        assert entry["maps"] == ["demo_room"]
        assert entry["first_class"] == 0
        assert entry["landmarks"] >= 2
        assert entry["recogniser"]["accuracy"] > 0.5


@pytest.fixture(scope="module")
def anchor(engine):
    return engine.localize(SIMULATED.frame(1))


def test_each_inlier_is_of_the_landmark_of_its_point(engine, anchor):
    assert isinstance(anchor, AnchorPose)
    assert anchor.map_from_camera.is_close(SIMULATED.pose(1), 0.05, 1.0)
    label_of = {point.tobytes(): label for point, label in zip(engine.map.points, engine.map.point_labels, strict=True)}
    expected = [label_of[point.tobytes()] for point in anchor.inlier_points]
    assert anchor.inlier_landmarks.tolist() == expected
    assert min(expected) >= 1
    assert len(set(expected)) > 1


def test_a_prior_changes_nothing_about_it(engine, anchor):
    guided = engine.localize(SIMULATED.frame(1), prior=SIMULATED.pose(1))
    assert len(guided.inlier_landmarks) == guided.num_inliers
    assert "recognition" not in guided.stage_ms


def test_they_go_through_json(anchor):
    again = result_from_mapping(result_to_mapping(anchor, with_inliers=True), anchor.stamp_ns)
    np.testing.assert_array_equal(again.inlier_landmarks, anchor.inlier_landmarks)
    assert len(result_from_mapping(result_to_mapping(anchor), anchor.stamp_ns).inlier_landmarks) == 0
    values = result_to_mapping(anchor, with_inliers=True)
    values["inlier_landmarks"].pop()
    with pytest.raises(ValueError, match="landmarks"):
        result_from_mapping(values, anchor.stamp_ns)


class TestRefusedMaps:
    def test_a_map_without_landmarks_names_the_command(self, room):
        with pytest.raises(MapError, match="visloc prepare MAP --for landmarks"):
            AnchorEngine(room, BY_LANDMARKS)

    def test_a_broken_file(self, landmark_room):
        whole = open_map(landmark_room)
        files = {**whole.prepared["landmarks"], "frames.npz": b""}
        with pytest.raises(MapError, match="visloc prepare MAP --for landmarks"):
            AnchorEngine(replace(whole, prepared={"landmarks": files}), BY_LANDMARKS)

    def test_a_recogniser_of_other_features(self, landmark_room):
        whole = open_map(landmark_room)
        files = dict(whole.prepared["landmarks"])
        files["recogniser.json"] = files["recogniser.json"].replace(b"aliked-n16", b"disk")
        with pytest.raises(ModelError, match="visloc prepare MAP --for landmarks"):
            AnchorEngine(replace(whole, prepared={"landmarks": files}), BY_LANDMARKS)

    @pytest.mark.parametrize("first", [-1, 10_000, 1.5, None, True, "0"])
    def test_classes_that_the_recogniser_does_not_have(self, landmark_room, first):
        whole = open_map(landmark_room)
        entry = {**whole.manifest.prepared["landmarks"], "first_class": first}
        manifest = replace(whole.manifest, prepared={"landmarks": entry})
        with pytest.raises(MapError, match="visloc prepare MAP --for landmarks"):
            AnchorEngine(replace(whole, manifest=manifest), BY_LANDMARKS)
