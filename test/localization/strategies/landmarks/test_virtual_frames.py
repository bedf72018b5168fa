"""Which views stand for a landmark."""

from itertools import combinations

import numpy as np
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.localization.strategies.landmarks.virtual_frames import choose_virtual_frames, cover


def random_views(seed, views=12, points=60):
    rng = np.random.default_rng(seed)
    return rng.random((views, points)) < rng.uniform(0.05, 0.5, (views, 1))


@pytest.mark.parametrize("seed", range(20))
def test_every_view_is_the_best_one_by_brute_force(seed):
    shows = random_views(seed)
    chosen = cover(shows)
    for place in range(len(chosen)):
        covered = shows[chosen[:place]].any(axis=0)
        gains = [(shows[row] & ~covered).sum() for row in range(len(shows))]
        assert chosen[place] == int(np.argmax(gains))


@pytest.mark.parametrize("seed", range(20))
def test_the_coverage_is_near_the_best_by_brute_force(seed):
    """Greedily chosen sets cover at least 1 - 1/e of what the best ones do (Nemhauser et al. 1978)."""
    shows = random_views(seed)
    chosen = cover(shows)
    for count in range(1, min(len(chosen), 4) + 1):
        best = max(shows[list(some)].any(axis=0).sum() for some in combinations(range(len(shows)), count))
        covered = shows[chosen[:count]].any(axis=0).sum()
        assert covered >= (1.0 - 1.0 / np.e) * best
        assert count > 1 or covered == best


def test_nine_tenths_are_enough():
    shows = np.zeros((3, 100), bool)
    shows[0, :60], shows[1, 60:91], shows[2, 91:] = True, True, True
    assert cover(shows) == [0, 1]


def test_ten_views_are_enough_and_one_that_adds_little_is_none():
    assert len(cover(np.eye(12, dtype=bool))) == 10
    shows = np.zeros((2, 200), bool)
    shows[0, :150], shows[1, 150:151] = True, True
    assert cover(shows) == [0]


def rows(*parts):
    return np.concatenate([np.arange(first, last) for first, last in parts]).astype(np.int32)


def test_the_view_that_shows_most_of_a_landmark_is_matched():
    labels = np.repeat([0, 1, 2], [100, 200, 200])
    seen = [rows((0, 250)), rows((120, 290)), rows((300, 480)), rows((280, 300))]
    chosen = choose_virtual_frames(seen, labels)
    assert [frames[0] for frames in chosen] == [1, 2]


def test_a_view_with_few_points_is_used_only_where_no_other_shows_the_landmark():
    labels = np.repeat([1, 2], [100, 400])
    few, many = rows((0, 90)), rows((0, 50), (100, 300))
    assert choose_virtual_frames([few, many], labels)[0][0] == 1
    assert choose_virtual_frames([few, rows((100, 300))], labels)[0] == [0]


def test_a_view_that_shows_next_to_nothing_of_a_landmark_does_not_stand_for_it():
    """However much of others it shows."""
    labels = np.repeat([1, 2], [100, 400])
    few, beside = rows((0, 90)), rows((80, 300))
    assert choose_virtual_frames([few, beside], labels)[0][0] == 0


def test_a_landmark_that_nothing_shows_is_refused_in_words():
    with pytest.raises(MapError, match="no image shows landmark 2"):
        choose_virtual_frames([rows((0, 10))], np.repeat([1, 2], 10))
