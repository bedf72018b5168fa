"""Training: it learns, repeats itself, goes on after an interruption, and ends when it should."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from token_world import LANDMARKS, SIZE, TokenWorld

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_search.landmarks.backends.recogniser import TransformerRecogniser
from visloc_search.landmarks.backends.training import (
    train_recogniser,
)
from visloc_search.landmarks.config import TrainingConfig
from visloc_search.learning import CHECKPOINT_NAME

CLASSES = LANDMARKS + 1
SHORT = TrainingConfig(
    size="nano",
    prototypes=8,
    max_steps=12,
    batch=4,
    warm_up=2,
    validate_every=4,
    device="cpu",
    tokens=32,
)


@pytest.fixture(scope="module")
def world():
    return TokenWorld()


@pytest.fixture(scope="module")
def data(world):
    """Images, images of elsewhere, and held-out images."""
    return world.views(30), [world.elsewhere() for _ in range(6)], world.views(4)


def train(data, config=SHORT, **options):
    return train_recogniser(*data, CLASSES, config, **options)


def assert_equal(a, b):
    state, other = a.network.state_dict(), b.network.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert [without_time(point) for point in a.curve] == [without_time(point) for point in b.curve]
    assert a.background_threshold == b.background_threshold


def without_time(point):
    return {name: value for name, value in asdict(point).items() if name != "seconds"}


class Interrupt:
    """Presses Ctrl-C after so many steps."""

    def __init__(self, after):
        self.left = after

    def __call__(self, share):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A training that nothing disturbs, and the folder of its checkpoint."""
    folder = tmp_path_factory.mktemp("finished")
    return train(data, checkpoint_folder=folder), folder


@pytest.fixture
def usual(finished):
    return finished[0]


@pytest.fixture
def folder(finished, tmp_path):
    """A folder with the checkpoint of a finished training."""
    return Path(shutil.copytree(finished[1], tmp_path / "checkpoint"))


@pytest.fixture(scope="module")
def learned(data):
    return train(data, replace(SHORT, max_steps=80, validate_every=20, learning_rate=3e-3, tokens=64))


def test_it_learns_the_landmarks_of_a_small_world(world, learned):
    recogniser = TransformerRecogniser(learned.network, info=None, device="cpu")
    right, total = 0, 0
    for image in [world.view() for _ in range(5)]:
        keypoints = image.positions * 0.7 * max(SIZE) + np.array(SIZE) / 2
        features = LocalFeatures(keypoints, np.ones(len(image), np.float32), image.descriptors, SIZE)
        right += (recogniser.recognise(features).argmax(axis=1) == image.labels).sum()
        total += len(image)
    assert right / total >= 0.8


def test_the_curve_shows_how_it_learned(learned):
    first, last = learned.curve[0], learned.curve[-1]
    assert [point.step for point in learned.curve] == [20, 40, 60, 80]
    assert last.loss < first.loss
    assert last.accuracy > first.accuracy
    assert last.macro_accuracy > 0.7
    assert last.background_recall > first.background_recall
    assert 0.0 < learned.background_threshold <= 1.0
    assert all(type(value) in (int, float) for value in asdict(last).values())


def test_equal_seeds_give_equal_networks(data, usual):
    assert_equal(train(data), usual)
    other = train(data, replace(SHORT, seed=1)).network.input.weight
    assert not torch.equal(other, usual.network.input.weight)


def test_training_leaves_the_random_numbers_of_others_alone(data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(data, replace(SHORT, max_steps=1))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("after", [1, 6])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(data, usual, tmp_path, after):
    with pytest.raises(KeyboardInterrupt):
        train(data, progress=Interrupt(after), checkpoint_folder=tmp_path)
    steps = []
    resumed = train(data, progress=steps.append, checkpoint_folder=tmp_path)
    assert len(steps) == 12 - after
    assert_equal(resumed, usual)


def test_an_interruption_within_a_step_leaves_the_state_before_it(data, usual, tmp_path, monkeypatch):
    step = torch.optim.AdamW.step
    calls = []

    def interrupted(self, *arguments):
        step(self, *arguments)  # weights are changed, the step is not counted
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(data, replace(SHORT, checkpoint_s=0.0), checkpoint_folder=tmp_path)
    assert_equal(train(data, checkpoint_folder=tmp_path), usual)


def test_a_finished_training_is_not_done_again(data, usual, folder):
    steps = []
    again = train(data, progress=lambda *reported: steps.append(reported), checkpoint_folder=folder)
    assert steps == []
    assert_equal(again, usual)


@pytest.mark.parametrize(("left_out", "seed"), [(1, 0), (0, 1)])
def test_a_checkpoint_of_other_images_or_options_is_not_continued(data, folder, left_out, seed):
    images, *others = data
    steps = []
    train(
        (images[left_out:], *others),
        replace(SHORT, seed=seed),
        progress=lambda *reported: steps.append(reported),
        checkpoint_folder=folder,
    )
    assert len(steps) == 12


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_not_continued(data, usual, folder, content):
    path = folder / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:500] if content is None else content)
    assert_equal(train(data, checkpoint_folder=folder), usual)


def test_a_checkpoint_that_cannot_be_read_is_not_replaced(data, folder):
    path = folder / CHECKPOINT_NAME
    path.unlink()
    path.symlink_to(path.name)  # a circle
    with pytest.raises(ModelError, match=r"cannot read .*or remove it"):
        train(data, checkpoint_folder=folder)
    assert path.is_symlink()


def test_it_ends_when_time_is_up_or_nothing_gets_better(data):
    hurried = train(data, replace(SHORT, max_steps=100_000, max_minutes=0.02))
    assert hurried.curve[-1].step < 1000
    assert hurried.curve[-1].seconds < 4.0
    flat = train(data, replace(SHORT, max_steps=1000, learning_rate=3e-3, patience=8))
    assert flat.curve[-1].step < 500
    assert flat.best.step <= flat.curve[-1].step - 8


def test_a_network_that_knows_little_yet_is_not_given_up(data):
    slow = train(data, replace(SHORT, max_steps=24, learning_rate=1e-6, patience=8))
    assert slow.best.accuracy < 0.5
    assert slow.curve[-1].step == 24


def test_background_that_is_not_recognised_weighs_more(data, monkeypatch):
    weights = []
    cross_entropy = torch.nn.functional.cross_entropy
    monkeypatch.setattr("visloc_search.landmarks.backends.training._STEPS_BEFORE_RAISING", 4)
    monkeypatch.setattr(
        torch.nn.functional,
        "cross_entropy",
        lambda logits, labels, weight: weights.append(float(weight[0])) or cross_entropy(logits, labels, weight),
    )
    train(data, replace(SHORT, background_weight=1e-4))
    assert weights[0] == pytest.approx(1e-4)
    assert weights[-1] == pytest.approx(0.3)


def test_a_map_may_have_no_negatives_and_nothing_held_out(data):
    images, _, _ = data
    trained = train((images, [], []))
    assert np.isfinite(trained.curve[-1].loss)
