"""Maps under any changes in any order, also killed or beside each other: nothing is lost, and every pose stays right.

FUZZ_EXAMPLES=10000 searches longer, as ``make fuzz`` does: that many steps, in runs of at most 50.
"""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import history_steps as steps
from history_steps import NAMES, Child, Truth, attempt, digests, turned
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from visloc_ros.core import map_versions
from visloc_ros.core.coordinate_frame import new_uuid
from visloc_ros.core.map_versions import list_damaged, list_versions

EXAMPLES, LONG = int(os.environ.get("FUZZ_EXAMPLES", "0")), 50
SERVERS, COPY = ("server/a", "server/b"), "robot/a"
PLACE = st.sampled_from((SERVERS[0], SERVERS[0], SERVERS[1], COPY))  # mostly one, whose history grows long
HOW = st.one_of(st.just("plain"), st.integers(1, 200), st.just("beside a reader"))
TOGETHER = st.sampled_from(("update", "align", "back", "prepare", "delete"))
MOVE = st.builds(turned, st.floats(-3.0, 3.0), st.floats(-20.0, 20.0), st.floats(0.5, 2.0))


class Place:
    """What is known of a map's folder: all versions that were ever there, and what lies there now."""

    def __init__(self):
        self.forget()

    def forget(self):
        self.bytes, self.of_number, self.now, self.present = {}, {}, set(), None


class MapHistory(RuleBasedStateMachine):
    """Every rule is a step; after each, all of the maps is compared with what is known of them."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="history_"))
        self.truth = Truth()
        self.places = {name: Place() for name in (*SERVERS, COPY)}
        self.trees = {}

    def teardown(self):
        shutil.rmtree(self.root)

    def path(self, name):
        return self.root / name

    def exists(self, name):
        return self.places[name].present is not None

    def make(self, name):
        """Build, or copy, what is not there."""
        if not self.exists(name) and name == COPY:
            self.make(SERVERS[0])
            self.copy()
        elif not self.exists(name):
            self.build(name, 6, turned(0.1 * len(self.truth.names), 1.0, 1.0), "plain", overwrite=False)

    def copy(self):
        """Take a map to a robot."""
        shutil.copytree(self.path(SERVERS[0]), self.path(COPY))
        self.check(COPY)

    def do(self, how, act, *names):
        """Do a step in places, and check these."""
        before = {name: self.trees.get(name, {}) for name in names}
        refused = self._run(how, act, self.path(names[0]))
        for name in names:
            tree = self._tree(name)
            if refused:
                assert tree == before[name], f"changed by what was refused: {refused}"
        return refused

    def _run(self, how, act, path):
        if how == "plain":
            return attempt(act)
        if how == "beside a reader":
            reader = Child(partial(steps.open_often, path))
            refused = attempt(act)
            said = reader.wait()
            assert not said, f"a reader was told: {said}"
            return refused
        return Child(act, dies_at=how).wait()

    def _tree(self, name):
        path = self.path(name)
        attempt(partial(list_versions, path))  # restores what a killed process has moved aside
        return digests(path) if path.exists() else {}

    def check(self, name, *, changed=(), is_pull=False, is_one_step=True):
        """Compare a place with what is known of it; bytes of versions that were there may be others if ``changed``."""
        place, path = self.places[name], self.path(name)
        self.trees[name] = self._tree(name)
        if not path.exists():
            place.forget()
            return
        versions = list_versions(path)
        [present] = [one for one in versions if one.is_present]
        assert list_damaged(path) == []
        assert len(versions) <= 1 + map_versions.MOST_VERSIONS
        former, was_there = place.present, place.now
        place.present, place.now = present.step, {one.step for one in versions}
        for one in versions:
            found = digests(one.folder, but_not="versions")
            if place.bytes.get(one.step) != found:
                assert one.step not in place.bytes or one.step in changed, f"{one.step} has other bytes"
                self.truth.check(one.folder)
                place.bytes[one.step] = found
            known = place.of_number.setdefault(one.number, one.step)
            if is_pull and one.is_present:
                place.of_number[one.number] = one.step
            else:
                assert known == one.step, f"number {one.number} is used twice"
        if is_one_step:
            self._check_kept(present, former, was_there, place.now)

    @staticmethod
    def _check_kept(present, former, was_there, now):
        gone = {step for step in was_there - now if step[0] != present.number}  # a pull replaces that number
        if former is not None:
            assert former not in gone, "what was in use is gone"
        ancestors = [step for step in present.ancestors if step in was_there]
        assert not ancestors or ancestors[-1] in now, "the parent is gone"
        lost = [step for step in ancestors if step in gone]
        kept = [step for step in ancestors if step in now and step != former]
        assert all(max(lost) < step for step in kept if lost), "an older version was kept in place of a newer one"
        rejected = now - {*present.ancestors, present.step, former}
        last = max(step[0] for step in now)
        assert not lost or all(step[0] == last for step in rejected), "what was rejected was kept longer"

    @initialize(move=MOVE)
    def build_first(self, move):
        self.build(SERVERS[0], 6, move, "plain", overwrite=False)

    @rule(place=PLACE, size=st.integers(3, 6), move=MOVE, how=HOW, overwrite=st.booleans())
    def build(self, place, size, move, how, overwrite):
        uuid, there = new_uuid(), self.exists(place)
        step = self.truth.new(NAMES[:size], move, uuid)
        had_versions = len(self.places[place].now) > 1
        how = "plain" if how == "beside a reader" and not there else how
        refused = self.do(how, partial(steps.build, self.truth, step, uuid, self.path(place), overwrite), place)
        if there and (had_versions or not overwrite):
            assert refused != ""
        elif refused == "" or self._tree(place) != self.trees.get(place, {}):
            self.places[place].forget()
        self.check(place)

    def _change(self, place, how, kind, names):
        step = self.truth.new(names)
        refused = self.do(how, partial(steps.change, self.truth, step, kind, self.path(place)), place)
        assert not refused, refused
        before, number = self.places[place].present, max(self.places[place].of_number)
        self.check(place)
        if refused == "":
            present = self.places[place].present
            assert present[0] > number
            assert list_versions(self.path(place))[-1].ancestors[-1] == before

    def present(self, place):
        return next(one for one in list_versions(self.path(place)) if one.is_present)

    def names_of(self, place):
        return self.truth.names[self.present(place).manifest.created_from]

    def depth(self, place):
        """How many versions the present one was made of."""
        return len(self.present(place).ancestors)

    @rule(place=PLACE, kind=st.sampled_from(("extend", "update", "thin")), row=st.integers(0, 7), how=HOW)
    def change(self, place, kind, row, how):
        self.make(place)
        names = self.names_of(place)
        more, fewer = names | {NAMES[row]}, names - {NAMES[-row - 1]}
        chosen = {"extend": more, "thin": fewer, "update": more - {NAMES[-row - 1]}}[kind]
        self._change(place, how, kind, chosen if len(chosen) > 2 else names)

    @rule(place=PLACE, move=MOVE, how=HOW)
    def align(self, place, move, how):
        self.make(place)
        step = self.truth.new((), move)
        refused = self.do(how, partial(steps.align, self.truth, step, self.path(place)), place)
        assert not refused, refused
        self.check(place)

    @rule(place=PLACE, move=MOVE, how=HOW)
    def merge(self, place, move, how):
        self.make(place)
        uuid = new_uuid()
        step = self.truth.new(self.names_of(place), move, uuid)
        refused = self.do(how, partial(steps.merge, self.truth, step, uuid, self.path(place)), place)
        assert not refused, refused
        self.check(place)

    @rule(place=PLACE, text=st.sampled_from("abc"), how=HOW)
    def prepare(self, place, text, how):
        self.make(place)
        refused = self.do(how, partial(steps.prepare, text, self.path(place)), place)
        assert not refused, refused
        self.check(place, changed={self.places[place].present})

    @rule(place=PLACE, row=st.one_of(st.none(), st.integers(0, 8)), how=HOW)
    def roll_back(self, place, row, how):
        self.make(place)
        known = self.places[place]
        versions = {one.step: one for one in list_versions(self.path(place))}
        ancestors = [step for step in versions[known.present].ancestors if step in versions]
        wanted = sorted(versions)[row % len(versions)] if row is not None else None
        expected = wanted or (ancestors[-1] if ancestors else None)
        number = None if wanted is None else wanted[0]
        before = known.present
        refused = self.do(how, partial(steps.go_back, number, self.path(place)), place)
        assert bool(refused) == (expected in (None, before)) or refused is None
        self.check(place)
        assert known.present in ((expected,) if refused == "" else (before,) if refused else (expected, before))
        assert known.now == set(versions)

    @rule(places=st.permutations(SERVERS))
    def rename(self, places):
        old, new = places
        if self.exists(old) and not self.exists(new):
            self.do("plain", partial(steps.rename, self.path(new), self.path(old)), old, new)
            self.places[old], self.places[new] = Place(), self.places[old]
            self.check(old)
            self.check(new)

    @rule(place=PLACE, how=HOW, is_sure=st.integers(0, 4))
    def delete(self, place, how, is_sure):
        if is_sure < 4 or not self.exists(place):
            return  # a long history says more
        how = "plain" if how == "beside a reader" else how
        refused = self.do(how, partial(steps.delete, self.path(place)), place)
        assert not refused, refused
        self.check(place)

    @rule(
        place=PLACE,
        pair=st.lists(st.sampled_from(("update", "align", "back", "prepare")), min_size=2, max_size=2),
        move=MOVE,
    )
    def two_at_once(self, place, pair, move):
        self.make(place)
        names, path = self.names_of(place), self.path(place)
        before, known = self.trees[place], self.places[place]
        acts = {
            "update": lambda: partial(steps.change, self.truth, self.truth.new(names), "update", path),
            "align": lambda: partial(steps.align, self.truth, self.truth.new((), move), path),
            "back": lambda: partial(steps.go_back, None, path),
            "prepare": lambda: partial(steps.prepare, "d", path),
            "delete": lambda: partial(steps.delete, path),
        }
        depth = self.depth(place)
        children = [Child(acts[one]()) for one in pair]
        refused = [child.wait() for child in children]
        assert not all(refused) or self._tree(place) == before
        self.check(place, changed=known.now if "prepare" in pair else (), is_one_step="back" not in pair)
        if not {"back", "delete"} & set(pair):
            done = sum(one != "prepare" and not words for one, words in zip(pair, refused, strict=True))
            assert self.depth(place) == depth + done, "what one process has done is lost by the other"

    @invariant()
    def other_places_are_untouched(self):
        for name, tree in self.trees.items():
            assert self._tree(name) == tree


def run(machine, monkeypatch, examples=8):
    """Search for steps that break a machine."""
    monkeypatch.setattr(map_versions, "MOST_VERSIONS", 3)  # old ones make room early
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(1, EXAMPLES // LONG) if EXAMPLES else examples,
            stateful_step_count=LONG if EXAMPLES else 20,
            derandomize=not EXAMPLES,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_changes_in_any_order(monkeypatch):
    run(MapHistory, monkeypatch)
