"""Training samples: what is drawn, what becomes of it, and that the step decides it."""

from dataclasses import replace

import numpy as np
import pytest
from token_world import DIM, TokenWorld, unit

from visloc_ros.core.errors import MapError
from visloc_search.landmarks.augmentation import Augmentation, SampleMaker
from visloc_search.landmarks.tokens import BACKGROUND, LabelledImage, landmark_prototypes

PLAIN = Augmentation(
    chimeras=0.0,
    negatives=0.0,
    track_swap=0.0,
    descriptor_noise=0.0,
    min_scale=1.0,
    max_shift=0.0,
    max_roll_deg=0.0,
    max_dropout=0.0,
    partial_views=0.0,
)
TOKENS = 64


@pytest.fixture(scope="module")
def world():
    return TokenWorld(points=200)


@pytest.fixture(scope="module")
def images(world):
    return world.views(6)


@pytest.fixture(scope="module")
def negatives(world):
    return [world.elsewhere() for _ in range(4)]


def samples(images, elsewhere, size=32, step=0, tokens=TOKENS, **options):
    maker = SampleMaker(images, elsewhere, tokens, 3, replace(PLAIN, **options))
    return maker.batch(step, size)


def joined(images, name="descriptors"):
    return np.concatenate([getattr(one, name) for one in images])


def background_of(batch):
    """Descriptors of the tokens that show no landmark."""
    return batch.descriptors[batch.valid & (batch.labels == BACKGROUND)]


def nearest(descriptors, candidates):
    """Largest cosine (K,) of each descriptor to any candidate, and which it is."""
    similarity = descriptors @ candidates.T
    return similarity.max(axis=-1), similarity.argmax(axis=-1)


def test_a_step_always_has_the_same_samples(images, negatives):
    first, again, other = (samples(images, negatives, step=step) for step in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.descriptors, other.descriptors)


def test_samples_have_the_shapes_and_types_that_a_network_takes(images, negatives):
    batch = samples(images, negatives, size=5)
    assert batch.descriptors.shape == (5, 64, DIM)
    assert batch.positions.shape == (5, 64, 2)
    assert batch.labels.shape == batch.valid.shape == (5, 64)
    assert batch.descriptors.dtype == batch.positions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(batch.descriptors, axis=-1), 1.0, atol=1e-3)


def test_a_map_without_background_gets_that_of_elsewhere(images, negatives):
    batch = samples(images, negatives)
    share = np.array([(labels[valid] == BACKGROUND).mean() for labels, valid in zip(*batch[2:], strict=True)])
    assert share.min() >= 0.08
    assert share.max() <= 0.71
    cosine, _ = nearest(background_of(batch), joined(negatives))
    assert cosine.min() > 0.999


def test_landmark_tokens_keep_their_descriptor_position_and_label(images, negatives):
    batch = samples(images, negatives)
    shown = batch.valid & (batch.labels != BACKGROUND)
    everything = joined(images)
    cosine, row = nearest(batch.descriptors[shown], everything)
    assert cosine.min() > 0.999
    assert (batch.labels[shown] == joined(images, "labels")[row]).all()
    np.testing.assert_allclose(batch.positions[shown], joined(images, "positions")[row])


def test_background_of_the_image_itself_comes_first(world, negatives):
    image = world.view()
    labels = np.where(np.arange(len(image)) % 2, image.labels, BACKGROUND)
    image = LabelledImage(image.descriptors, image.positions, labels, image.point_rows)
    batch = samples([image], negatives, min_labelled=1, max_background=0.4)
    cosine, _ = nearest(background_of(batch), image.descriptors)
    assert cosine.min() > 0.999


def test_a_view_of_hardly_any_landmark_is_filled_up_with_background(images, negatives):
    batch = samples([images[0].take(np.arange(9))], negatives)
    assert batch.valid.all()
    assert ((batch.labels != BACKGROUND).sum(axis=1) == 9).all()


@pytest.mark.parametrize("with_negatives", [True, False])
def test_chimeras_look_like_the_map_and_are_background(images, negatives, with_negatives):
    batch = samples(images, negatives if with_negatives else [], chimeras=1.0)
    cosine, _ = nearest(background_of(batch), joined(images))
    assert len(cosine) > 100
    assert 0.55 < np.median(cosine) < 0.9


def test_without_background_of_any_kind_all_tokens_are_landmarks(images):
    batch = samples(images, [])
    assert (batch.labels[batch.valid] != BACKGROUND).all()


def test_some_samples_show_only_background(images, negatives):
    batch = samples(images, negatives, negatives=0.5)
    empty = [not (labels[valid] != BACKGROUND).any() for labels, valid in zip(*batch[2:], strict=True)]
    assert 6 < sum(empty) < 26


def test_swapped_descriptors_are_of_the_same_point(world, images, negatives):
    batch = samples(images, negatives, track_swap=1.0)
    shown = batch.valid & (batch.labels != BACKGROUND)
    observed = joined(images)
    points = joined(images, "point_rows")
    cosine, row = nearest(batch.descriptors[shown], observed)
    assert cosine.min() > 0.999  # it is an observation of a map image
    placed = joined(images, "positions")
    moved = np.abs(batch.positions[shown] - placed[row]).max(axis=1) > 1e-6
    assert moved.mean() > 0.3  # but not the one at this place
    at_place = np.abs(placed[None] - batch.positions[shown][:, None]).max(axis=-1).argmin(axis=1)
    assert (points[at_place] == points[row]).all()


def test_noise_turns_descriptors_a_little(images, negatives):
    batch = samples(images, negatives, descriptor_noise=0.03)
    cosine, _ = nearest(batch.descriptors[batch.valid], joined(images + negatives))
    assert np.median(cosine) == pytest.approx(1 / np.sqrt(1 + DIM * 0.03**2), abs=0.005)


def test_positions_are_scaled_rolled_and_shifted_as_one(images):
    plain = samples(images, [])
    moved = SampleMaker(images, [], TOKENS, 3, replace(PLAIN, min_scale=0.5))._moved(
        plain.positions, np.random.default_rng(0)
    )
    ratio = moved / plain.positions
    assert np.ptp(ratio, axis=(1, 2)).max() < 1e-4
    assert 0.5 <= ratio.min() < 0.6 < 0.9 < ratio.max() <= 1.0
    rolled = samples(images, [], max_roll_deg=10.0).positions
    assert not np.allclose(rolled, plain.positions, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(rolled, axis=-1), np.linalg.norm(plain.positions, axis=-1), atol=1e-5)


def test_dropout_and_partial_views_leave_fewer_tokens(images, negatives):
    whole = samples(images, negatives).valid.sum()
    dropped = samples(images, negatives, max_dropout=0.4).valid.sum(axis=1)
    assert 0.58 * 64 <= dropped.min() < dropped.max()
    assert dropped.sum() < whole
    partial = samples(images, [], tokens=512, partial_views=1.0)
    assert partial.valid.sum() < 0.8 * samples(images, [], tokens=512).valid.sum()


def test_images_without_landmarks_or_tokens_are_passed_over(world, images, negatives):
    nothing = images[0].take(np.empty(0, np.intp))
    batch = samples([nothing, images[0], negatives[0]], [nothing, negatives[1]])
    assert ((batch.labels != BACKGROUND) & batch.valid).any(axis=1).all()
    with pytest.raises(MapError, match="no image of the map shows a landmark"):
        samples([nothing, negatives[0]], negatives)


@pytest.mark.parametrize("chimeras", [0.0, 0.5, 1.0])
def test_validation_images_get_background_where_they_have_none(images, negatives, chimeras):
    maker = SampleMaker(images, negatives, TOKENS, 0, replace(PLAIN, chimeras=chimeras))
    (image,) = maker.for_validation(images[:1])
    background = image.labels == BACKGROUND
    assert background.sum() == round(0.5 * len(images[0]))
    cosine, _ = nearest(image.descriptors[background], joined(negatives))
    assert (cosine < 0.999).sum() == round(chimeras * background.sum())
    assert len(maker.for_validation([image])[0]) == len(image)


def test_validation_images_without_any_background_only_get_noise(images):
    maker = SampleMaker(images, [], TOKENS, 0, Augmentation(chimeras=0.0))
    (image,) = maker.for_validation(images[:1])
    assert np.array_equal(image.labels, images[0].labels)
    cosine = (image.descriptors * images[0].descriptors).sum(axis=1)
    assert np.median(cosine) == pytest.approx(1 / np.sqrt(1 + DIM * 0.03**2), abs=0.005)


def test_prototypes_are_near_every_descriptor_of_their_landmark(world, images):
    prototypes = landmark_prototypes(images, 6, 8, seed=0)
    assert prototypes.shape == (5, 8, DIM)
    np.testing.assert_allclose(np.linalg.norm(prototypes[:4], axis=-1), 1.0, atol=1e-5)
    assert not prototypes[4].any()  # no image shows it
    best = (world.descriptors @ prototypes.reshape(-1, DIM).T).reshape(-1, 5, 8).max(axis=-1)
    assert (best.argmax(axis=1) + 1 == world.labels).mean() > 0.7
    assert np.array_equal(prototypes, landmark_prototypes(images, 6, 8, seed=0))


def test_a_landmark_of_few_tokens_repeats_them():
    few = unit(np.random.default_rng(0).normal(size=(2, DIM)))
    image = LabelledImage(few, few[:, :2], np.ones(2, np.int64), np.zeros(2, np.int64))
    prototypes = landmark_prototypes([image], 2, 5, seed=0)
    np.testing.assert_allclose((prototypes[0] @ few.T).max(axis=1), 1.0, atol=1e-5)
