"""Counts of use: what exists stays, what is gone goes after two sessions, and one session alone decides nothing."""

import numpy as np
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import Manifest, file_info
from visloc_ros.mapping.update.use import MapUse, UseCounts, read_use, write_use

RNG = np.random.default_rng(0)
MANIFEST = Manifest("room", "synthetic", {}, metric=True, gravity_aligned=False)


def session(share, images, exists):
    """Counts of points that 40 images should show, of which each shows a share."""
    shown = RNG.random((images, len(exists))) < share
    shown &= exists
    return UseCounts(shown.sum(axis=0).astype(float), share * (~shown).sum(axis=0))


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
class TestBeta:
    def test_points_that_exist_stay_for_years(self, share):
        exists = np.ones(500, bool)
        counts = UseCounts.none(500)
        for _ in range(50):
            counts = counts.with_session(session(share, 40, exists))
            assert not counts.is_gone.any()

    def test_points_that_are_gone_go_within_few_sessions_but_not_in_one(self, share):
        counts = UseCounts.none(500)
        for _ in range(5):
            counts = counts.with_session(session(share, 40, np.ones(500, bool)))
        gone = np.arange(500) < 100
        counts = counts.with_session(session(share, 40, ~gone))
        assert not counts.is_gone.any()
        sessions = 1
        while not counts.is_gone[gone].all():
            counts = counts.with_session(session(share, 40, ~gone))
            sessions += 1
        assert sessions <= 6
        assert not counts.is_gone[~gone].any()


class TestSessions:
    def test_what_a_session_does_not_show_is_not_forgotten(self):
        counts = UseCounts(np.array([8.0, 8.0]), np.array([2.0, 2.0]))
        later = counts.with_session(UseCounts(np.array([0.0, 4.0]), np.array([0.0, 1.0])))
        assert later.seen[0] == counts.seen[0]
        assert later.seen[1] == pytest.approx(0.5 * 8.0 + 4.0)

    def test_a_new_thing_begins_without_counts(self):
        counts = UseCounts(np.array([3.0, 5.0]), np.array([1.0, 2.0]))
        taken = counts.take(np.array([1, -1, 0]))
        assert taken.seen.tolist() == [5.0, 0.0, 3.0]
        assert taken.missed.tolist() == [2.0, 0.0, 1.0]


class TestFile:
    def test_counts_come_back_from_the_file(self, tmp_path):
        use = MapUse(
            UseCounts(np.arange(4.0), np.ones(4)), UseCounts(np.ones(2), np.zeros(2)), np.array([0, 1], np.int32)
        )
        listed = write_use(tmp_path, use, MANIFEST).files["use.h5"]
        assert listed == file_info(tmp_path / "use.h5")
        found = read_use(tmp_path, 4, 2)
        assert found.points.seen.tolist() == [0.0, 1.0, 2.0, 3.0]
        assert found.sessions.tolist() == [0, 1]

    def test_a_file_of_another_map_is_refused(self, tmp_path):
        write_use(tmp_path, MapUse.new(4, 2), MANIFEST)
        with pytest.raises(MapError, match="does not fit"):
            read_use(tmp_path, 5, 2)

    def test_a_map_without_the_file_was_never_updated(self, tmp_path):
        assert read_use(tmp_path, 3, 2).points.presence.tolist() == [0.5, 0.5, 0.5]
