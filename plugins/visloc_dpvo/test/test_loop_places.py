"""Recognising places by their local features: an index that learns its words on the way, and rows of hits."""

import numpy as np
import pytest

from visloc_dpvo.places import MIN_FRAMES_APART, Hit, LoopDetector, PlaceIndex
from visloc_ros.core.feature_files import LocalFeatures

THINGS = 60  # that a place shows


def place_features(place, frame):
    """Features of the things at a place, as one frame sees them."""
    things = np.random.default_rng(1000 + place).normal(size=(THINGS, 32))
    descriptors = things + 0.3 * np.random.default_rng(frame).normal(size=things.shape)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    scores = np.ones(THINGS, np.float32)
    return LocalFeatures(np.zeros((THINGS, 2), np.float32), scores, descriptors.astype(np.float32), (100, 100))


def walk(index, places, first=0):
    """Hits of frames that show these places, one after another."""
    return [index.add(first + frame, place_features(place, first + frame)) for frame, place in enumerate(places)]


def test_a_place_that_comes_again_is_recognised():
    places = [*range(120), *range(20, 40)]
    hits = walk(PlaceIndex(0.3), places)
    assert hits[120:] == [Hit(120 + step, 20 + step) for step in range(20)]
    assert not any(hits[:120])


def test_frames_shortly_before_are_not_looked_at():
    hits = walk(PlaceIndex(0.3), [*range(60), 60 - MIN_FRAMES_APART + 1, 61 - MIN_FRAMES_APART])
    assert hits[60:] == [None, Hit(61, 61 - MIN_FRAMES_APART)]


def test_words_learnt_early_still_distinguish_later_places():
    first, later = [0, 1] * 30, list(range(2, 80))
    hits = walk(PlaceIndex(0.3), [*first, *later, *later[:10]])
    assert [hit and hit.place for hit in hits[-10:]] == [60 + step for step in range(10)]


def test_the_lowest_score_decides():
    places = [*range(60), *range(10)]
    assert all(walk(PlaceIndex(0.3), places)[60:])
    assert not any(walk(PlaceIndex(1.0), places))


def test_forgotten_frames_are_not_found_and_numbers_go_on():
    index = PlaceIndex(0.3)
    walk(index, range(100))
    index.forget_before(30)
    assert len(index) == 70
    assert index.features(29) is None
    assert index.features(30) is not None
    hits = walk(index, [10, 11, 40, 41], first=100)
    assert [hit and hit.place for hit in hits] == [None, None, 40, 41]


@pytest.mark.parametrize("kept", [30, 1, 0])
def test_however_much_is_forgotten_it_goes_on(kept):
    index = PlaceIndex(0.3)
    walk(index, range(100))
    index.forget_before(100 - kept)
    hits = walk(index, [*range(100, 180), *range(110, 120)], first=100)
    assert [hit and hit.place for hit in hits[-10:]] == [*range(110, 120)]


def test_frames_that_were_left_out_make_gaps_only():
    index = PlaceIndex(0.3)
    for frame in range(0, 160, 2):
        index.add(frame, place_features(frame, frame))
    assert index.add(161, place_features(20, 161)) == Hit(161, 20)
    assert index.features(21) is None


def test_an_image_without_features_looks_like_nothing():
    index = PlaceIndex(0.05)
    walk(index, range(70))
    empty = LocalFeatures(np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, 32)), (100, 100))
    assert index.add(70, empty) is None


def test_words_are_not_learnt_from_nearly_nothing():
    index = PlaceIndex(0.05)
    sparse = place_features(0, 0).take(np.array([0]))
    assert not any(index.add(frame, sparse) for frame in range(60))
    walk(index, range(60), first=60)
    assert index.add(120, place_features(5, 120)) == Hit(120, 65)


def test_three_frames_in_a_row_declare_a_loop_once():
    detector = LoopDetector(3)
    hits = [Hit(100, 10), None, Hit(102, 12), Hit(103, 13), Hit(104, 14), Hit(105, 15), Hit(106, 16)]
    declared = [detector.consider(hit) for hit in hits]
    assert declared == [None, None, None, None, Hit(103, 13), None, None]


@pytest.mark.parametrize(("length", "middle"), [(2, 100), (3, 101), (5, 102)])
def test_the_middle_of_a_row_is_taken(length, middle):
    detector = LoopDetector(length)
    declared = [detector.consider(Hit(100 + step, 5)) for step in range(length)]
    assert declared == [None] * (length - 1) + [Hit(middle, 5)]


def test_no_loop_is_declared_near_a_closed_one():
    detector = LoopDetector(3)
    detector.closed.append(Hit(100, 10))
    assert not any(detector.consider(Hit(101 + step, 11 + step)) for step in range(30))
    far = [detector.consider(Hit(151 + step, 11)) for step in range(3)]
    assert far == [None, None, Hit(152, 11)]
    other_place = [detector.consider(Hit(120 + step, 65)) for step in range(3)]
    assert other_place[-1] == Hit(121, 65)
