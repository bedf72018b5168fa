"""A recogniser on disk: what is written is read, and whatever else lies there is refused; and the pre-filter."""

import json

import numpy as np
import pytest
import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_search.landmarks.backends.recogniser import (
    TransformerRecogniser,
    save_recogniser,
    shape_of,
)
from visloc_search.landmarks.backends.recogniser_network import (
    NetworkShape,
    RecogniserNetwork,
)
from visloc_search.landmarks.backends.training import CurvePoint, TrainedRecogniser
from visloc_search.landmarks.config import TrainingConfig
from visloc_search.landmarks.recogniser import (
    INFO_NAME,
    KEEP_ALL,
    WEIGHTS_NAME,
    RecogniserInfo,
    background_threshold,
    keep_likely_landmarks,
    load_recogniser,
    write_recogniser,
)
from visloc_search.landmarks.training_curve import score_recognition

SHAPE = NetworkShape(in_dim=16, num_classes=5, dim=24, heads=2, head_dim=8, layers=2, prototypes=3)
EXTRACTOR = "aliked-n16"
REMEDY = "run 'visloc prepare MAP --for landmarks' again"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RecogniserNetwork(SHAPE).eval()


@pytest.fixture
def folder(tmp_path, network):
    save_recogniser(tmp_path, network, RecogniserInfo(EXTRACTOR, shape_of(network), 0.9))
    return tmp_path


def features(count=9, dim=16):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 360, (count, 2)).astype(np.float32)
    return LocalFeatures(keypoints, np.ones(count, np.float32), rng.normal(size=(count, dim)), (640, 360))


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def change(folder, **values):
    path = folder / INFO_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_saved_recogniser_recognises_the_same(folder, network):
    loaded = load_recogniser(files_in(folder), EXTRACTOR, "cpu")
    info = RecogniserInfo(EXTRACTOR, shape_of(network), 0.9)
    before = TransformerRecogniser(RecogniserNetwork(SHAPE), info, "cpu")
    before.network.load_state_dict(network.state_dict())
    assert loaded.num_classes == 5
    found = loaded.recognise(features())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found, before.recognise(features()), atol=0.02)


def test_the_bytes_are_those_of_the_files_and_half_of_the_weights(tmp_path, network):
    size = save_recogniser(tmp_path, network, RecogniserInfo(EXTRACTOR, shape_of(network), 0.9))
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())
    state = torch.load(tmp_path / WEIGHTS_NAME, weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_what_training_was_like_is_written_along(tmp_path, network):
    point = CurvePoint(4, 0.5, 1.5, 0.7, 0.6, 0.8, 0.9)
    TrainedRecogniser(network, (point,), 0.75, TrainingConfig()).save(tmp_path, EXTRACTOR)
    info = TransformerRecogniser.load(files_in(tmp_path), EXTRACTOR, "cpu").info
    assert (
        load_recogniser(files_in(tmp_path), EXTRACTOR, "cpu").background_threshold == info.background_threshold == 0.75
    )
    assert info.training["curve"][0]["accuracy"] == 0.7
    assert info.training["options"]["learning_rate"] == 1e-3


def test_without_torch_the_error_says_so(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install torch"):
        load_recogniser(files_in(folder), EXTRACTOR)


def test_an_image_without_keypoints_has_no_probabilities(folder):
    assert load_recogniser(files_in(folder), EXTRACTOR, "cpu").recognise(features(0)).shape == (0, 5)


def test_descriptors_of_another_length_are_refused(folder):
    with pytest.raises(ModelError, match="of length 16, not 32: the features come from another extractor"):
        load_recogniser(files_in(folder), EXTRACTOR, "cpu").recognise(features(dim=32))


@pytest.mark.parametrize("name", [WEIGHTS_NAME, INFO_NAME])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_file_is_refused_with_the_remedy(folder, name, damage):
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=REMEDY) as error:
        load_recogniser(files_in(folder), EXTRACTOR)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"schema_version": 2}, "of version 2, this program reads 1"),
        ({"extractor": "disk"}, "for features of 'disk', not of 'aliked-n16'"),
        ({"sha256": "0" * 64}, "is not the file that"),
        ({"surprise": 1}, "does not describe a recogniser"),
        ({"shape": {"dim": 8}}, "does not describe a recogniser"),
        ({"background_threshold": 7.0}, "no probability"),
        ({"background_threshold": "much"}, "does not describe a recogniser"),
        ({"training": 3}, "does not describe a recogniser"),
        ({"extractor": None}, "must be words"),
    ],
)
def test_a_wrong_description_is_refused_with_the_remedy(folder, values, complaint):
    change(folder, **values)
    with pytest.raises(ModelError, match=complaint) as error:
        load_recogniser(files_in(folder), EXTRACTOR)
    assert REMEDY in str(error.value)


@pytest.mark.parametrize("name", ["dim", "layers", "num_classes", "head_dim", "prototypes"])
@pytest.mark.parametrize("width", [0, -1, 2, 3, 50, 10**9, 2.5, True, None])
def test_a_wrong_shape_is_refused_and_takes_no_memory(folder, name, width):
    shape = json.loads((folder / INFO_NAME).read_text())["shape"]
    if shape[name] == width and width is not True:
        return
    change(folder, shape={**shape, name: width})
    with pytest.raises(ModelError, match=REMEDY):
        load_recogniser(files_in(folder), EXTRACTOR)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema_version": 1}', "[" * 100_000])
def test_what_is_no_description_is_refused(folder, text):
    (folder / INFO_NAME).write_text(text)
    with pytest.raises(ModelError, match=REMEDY):
        load_recogniser(files_in(folder), EXTRACTOR)


@pytest.mark.parametrize("content", [b"", b"weights", {"input.weight": [1.0]}, [1, 2], {"a": torch.ones(2)}, print])
def test_weights_that_are_none_are_refused(folder, network, content):
    if not isinstance(content, bytes):
        torch.save(content, folder / "other.pt")
        content = (folder / "other.pt").read_bytes()
    write_recogniser(folder, content, RecogniserInfo(EXTRACTOR, shape_of(network), 0.9))  # with their checksum
    with pytest.raises(ModelError, match="does not hold the weights") as error:
        load_recogniser(files_in(folder), EXTRACTOR)
    assert REMEDY in str(error.value)


def with_background(probabilities):
    background = np.asarray(probabilities, np.float32)
    return np.column_stack((background, 1.0 - background))


def test_the_threshold_keeps_this_share_of_landmark_tokens():
    rng = np.random.default_rng(0)
    images = [with_background(rng.beta(1, 4, 500)) for _ in range(3)]
    labels = [np.where(rng.random(500) < 0.5, 1, 0) for _ in images]
    threshold = background_threshold(images, labels)
    inliers = np.concatenate([one[truth == 1, 0] for one, truth in zip(images, labels, strict=True)])
    assert 0.97 <= (inliers <= threshold).mean() < 0.975


def test_background_tokens_do_not_move_the_threshold():
    probabilities = with_background([0.1, 0.2, 0.3, 0.99])
    assert background_threshold([probabilities], [np.array([1, 1, 1, 0])]) == pytest.approx(0.3)


@pytest.mark.parametrize("labels", [[], [np.zeros(2, np.int64)]])
def test_without_landmark_tokens_everything_is_kept(labels):
    probabilities = [with_background([0.5, 1.0]) for _ in labels]
    assert background_threshold(probabilities, labels) == KEEP_ALL
    assert keep_likely_landmarks(with_background([0.5, 1.0]), KEEP_ALL).tolist() == [0, 1]


def test_tokens_that_are_surely_background_are_dropped():
    assert keep_likely_landmarks(with_background([0.1, 0.95, 0.8, 0.9, 0.99]), 0.9).tolist() == [0, 2, 3]


@pytest.mark.parametrize(("kept", "expected"), [(4, 4), (3, 10)])
def test_less_than_two_fifths_left_means_that_all_are_kept(kept, expected):
    probabilities = with_background([0.1] * kept + [0.99] * (10 - kept))
    assert len(keep_likely_landmarks(probabilities, 0.9)) == expected


def test_an_image_without_tokens_or_of_background_alone():
    assert len(keep_likely_landmarks(np.zeros((0, 3), np.float32), 0.9)) == 0
    assert keep_likely_landmarks(with_background([0.99] * 4), 0.9).tolist() == [0, 1, 2, 3]


def test_scores_count_landmarks_and_background_apart():
    truth = np.array([1, 1, 1, 2, 0, 0])
    found = np.array([1, 1, 0, 1, 0, 2])
    scores = score_recognition([np.eye(3, dtype=np.float32)[found]], [truth])
    assert scores["accuracy"] == pytest.approx(2 / 4)
    assert scores["macro_accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    assert scores["background_precision"] == pytest.approx(1 / 2)
    assert scores["background_recall"] == pytest.approx(1 / 2)


def test_where_nothing_can_be_wrong_the_score_is_one():
    scores = score_recognition([], [])
    assert set(scores.values()) == {1.0}
