"""Images found by the landmarks that are recognised in them, and refused where these do not hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from landmark_worlds import NearestRecogniser, make_landmark_map

from visloc_ros.core.errors import MapError, ModelError
from visloc_ros.core.map import LocalFeatures, open_map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import AnchorPose, Frame, Reason
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.strategies.landmarks.searcher import LandmarkSearcher

ROOM = Path(__file__).parents[4] / "maps" / "demo_room.tar.gz"
BY_LANDMARKS = AnchorConfig(search="landmarks")


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
def test_the_first_landmark_tells_the_pose(room, landmarks, row):
    assert is_right(searched(landmarks, room.images[row])[0], room.images[row])


def test_where_the_first_landmark_is_wrong_another_one_tells_the_pose(room, landmarks):
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


@pytest.fixture(scope="module")
def engine(landmark_room):
    return AnchorEngine(open_map(landmark_room), BY_LANDMARKS)


class TestPreparedMap:
    def test_all_images_find_themselves(self, engine, room):
        results = [engine.localize(frame_of(image), features=image.features) for image in room.images]
        assert all(isinstance(result, AnchorPose) for result in results)
        for result, image in zip(results, room.images, strict=True):
            assert np.linalg.norm(result.map_from_camera.translation - image.map_from_camera.translation) < 0.02

    def test_a_predicted_pose_is_used(self, engine, room):
        image = room.images[3]
        result = engine.localize(frame_of(image), image.map_from_camera, image.features)
        assert isinstance(result, AnchorPose)
        assert "recognition" not in result.stage_ms

    def test_images_and_global_descriptors_are_not_needed(self, landmark_room, engine, room):
        whole, image = open_map(landmark_room), room.images[9]
        nothing = np.empty((0, 0), np.float32)
        bare = replace(whole, images=(), points=np.empty((0, 3)), global_descriptors=nothing, vlad_centroids=nothing)
        result = AnchorEngine(bare, BY_LANDMARKS, engine.extractor, engine.matcher).localize(
            frame_of(image), features=image.features
        )
        whole_result = engine.localize(frame_of(image), features=image.features)
        assert np.array_equal(result.map_from_camera.translation, whole_result.map_from_camera.translation)

    def test_retrieval_gives_the_same_as_before(self, landmark_room, engine, room):
        image = room.images[9]
        of_both = [
            AnchorEngine(map_, AnchorConfig(), engine.extractor, engine.matcher).localize(
                frame_of(image), features=image.features
            )
            for map_ in (room, open_map(landmark_room))
        ]
        assert np.array_equal(of_both[0].map_from_camera.translation, of_both[1].map_from_camera.translation)

    def test_the_manifest_tells_what_was_made(self, landmark_room):
        entry = open_map(landmark_room).manifest.prepared["landmarks"]
        assert entry["maps"] == ["demo_room"]
        assert entry["first_class"] == 0
        assert entry["landmarks"] >= 2
        assert entry["recogniser"]["accuracy"] > 0.5

    def test_nothing_is_left_beside_the_map(self, landmark_room):
        assert list(landmark_room.parent.iterdir()) == [landmark_room]

    def test_an_image_without_keypoints_is_refused(self, engine, room):
        empty = room.images[0].features.take(np.arange(0))
        result = engine.localize(frame_of(room.images[0]), features=empty)
        assert result.reason is Reason.FEW_FEATURES


class TestRefusedMaps:
    def test_a_map_without_landmarks_names_the_command(self, room):
        with pytest.raises(MapError, match="visloc prepare MAP --for landmarks"):
            AnchorEngine(room, BY_LANDMARKS)

    def test_landmarks_of_another_version_of_the_map(self, landmark_room, room):
        whole = open_map(landmark_room)
        files = {**whole.manifest.files, "features.h5": replace(whole.manifest.files["features.h5"], sha256="0" * 64)}
        other = replace(whole, manifest=replace(whole.manifest, files=files))
        with pytest.raises(MapError, match="another version"):
            AnchorEngine(other, BY_LANDMARKS)

    @pytest.mark.parametrize("name", ["landmarks.npz", "frames.npz", "landmarks.json"])
    def test_a_missing_or_truncated_file(self, landmark_room, name):
        whole = open_map(landmark_room)
        files = whole.prepared["landmarks"]
        for broken in (
            {key: value for key, value in files.items() if key != name},
            {**files, name: files[name][: len(files[name]) // 2]},
        ):
            with pytest.raises(MapError, match="visloc prepare MAP --for landmarks"):
                AnchorEngine(replace(whole, prepared={"landmarks": broken}), BY_LANDMARKS)

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
