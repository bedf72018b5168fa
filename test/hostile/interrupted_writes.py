"""Every way of writing something, on a disk that fails at one call after the other, or while the process is killed.

python interrupted_writes.py SCENARIO[,SCENARIO...] FOLDER TRIALS [DATA], with the library of faulty_disk.c loaded
before all others; prints a line of JSON for each trial; without arguments, the scenarios and which of them need DATA.
TRIALS are spread over all calls that write; 0 tries each of them.
"""

import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from small_map import synthetic_parts

from visloc_ros.core.errors import VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Manifest, ModelInfo, open_map, pack_map, save_map
from visloc_ros.fusion.last_pose import LastPose, read_last_pose, write_last_pose
from visloc_ros.mapping import MappingConfig, build_map, extend_map
from visloc_ros.mapping.hloc_export import export_hloc
from visloc_ros.mapping.hloc_import import import_hloc
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_writer import write_bag

FAILURES = {"disk full": errno.ENOSPC, "input/output error": errno.EIO, "killed": 0}
OFF = -1
LONG_TRIALS = 40  # of each failure at most, where one takes seconds
disk = ctypes.CDLL(None)


def arm(folder, number=0, failure=0):
    """Let the calls that write below a folder be counted, and that of a number fail."""
    disk.faulty_disk_arm(str(folder).encode(), ctypes.c_long(number), failure)


def disarm():
    """Let all go well; gives the number of calls that were counted."""
    disk.faulty_disk_arm(b"", ctypes.c_long(OFF), 0)
    return disk.faulty_disk_calls()


PARTS = synthetic_parts(dimension=128)
MODELS = {role: ModelInfo(name, "none", "ab" * 32) for role, name in (("extractor", "aliked-n16"), ("global", "vlad"))}
MANIFEST = Manifest("old", "synthetic", MODELS, metric=True, gravity_aligned=False)


BUILD = MappingConfig.from_mapping(
    {"selection": {"min_motion": 0.0}, "reconstruction": {"threads": 1}, "workers": 1, "matcher": {"name": "nearest"}}
)


class Scenario:
    """Something old in a folder, and the act of writing something new in its place.

    Each has ``write(folder)``, the act, and ``state(folder)``: which one is there, read to its end, "old", "new" or
    "none". ``again`` is the next act at the same place. ``is_long`` where an act takes seconds.
    """

    is_long = False

    def __init__(self, outside):
        """Make what is needed beside the place, in a folder outside."""

    def prepare(self, folder):
        """Write what is there before."""

    def again(self, folder):
        """Write once more."""
        self.write(folder)


class FirstMap(Scenario):
    def write(self, folder):
        save_map(folder / "room", *PARTS, replace(MANIFEST, name="new"), overwrite=True)

    def state(self, folder):
        try:
            return open_map(folder / "room").name
        except VislocError as error:
            if (folder / "room").exists() or "there is no map" not in str(error):
                raise
            return "none"


class AnotherMap(FirstMap):
    def prepare(self, folder):
        save_map(folder / "room", *PARTS, MANIFEST)


class ImportedMap(AnotherMap):
    def __init__(self, outside):
        self.hloc = outside / "hloc"
        save_map(outside / "map", *PARTS, MANIFEST)
        export_hloc(outside / "map", self.hloc)

    def write(self, folder):
        import_hloc(self.hloc, folder / "room", overwrite=True)

    def state(self, folder):
        name = super().state(folder)
        return "new" if name == "room" else name


class ExportedMap(Scenario):
    def __init__(self, outside):
        self.map = outside / "map"
        save_map(self.map, *PARTS, MANIFEST)

    def write(self, folder):
        if not (folder / "hloc").exists():
            export_hloc(self.map, folder / "hloc")

    def state(self, folder):
        if not (folder / "hloc").exists():
            return "none"
        assert len(open_map(folder / "hloc").images) == 6
        return "new"


class BuiltMap(AnotherMap):
    is_long = True

    def __init__(self, outside, data):
        self.source = open_source(data / "7scenes_redkitchen", SourceConfig(every=10, last=59))

    def write(self, folder):
        build_map(self.source, folder / "room", BUILD, reference_poses=self.source.ground_truth, overwrite=True)

    def again(self, folder):
        super().write(folder)

    def state(self, folder):
        name = super().state(folder)
        return "new" if name == "room" else name


class UpdatedMap(BuiltMap):
    def __init__(self, outside, data):
        super().__init__(outside, data)
        self.built = outside / "old"
        self.later = open_source(data / "7scenes_redkitchen", SourceConfig(first=65, last=65))
        build_map(self.source, self.built, BUILD, reference_poses=self.source.ground_truth, overwrite=True)

    def prepare(self, folder):
        shutil.copytree(self.built, folder / "room")

    def write(self, folder):
        extend_map(folder / "room", self.later, folder / "room", overwrite=True)


class PackedMap(Scenario):
    def __init__(self, outside):
        self.old, self.new = outside / "old", outside / "new"
        save_map(self.old, *PARTS, MANIFEST)
        save_map(self.new, *PARTS, replace(MANIFEST, name="new"))

    def prepare(self, folder):
        pack_map(self.old, folder / "reference.tar.gz")

    def write(self, folder):
        pack_map(self.new, folder / "reference.tar.gz", overwrite=True)

    def state(self, folder):
        return open_map(folder / "reference.tar.gz").name


class RecordedState(Scenario):
    def prepare(self, folder):
        write_last_pose(folder, LastPose("old", 1, SE3.identity(), np.eye(6)))

    def write(self, folder):
        write_last_pose(folder, LastPose("new", 2, SE3.identity(), np.eye(6)))

    def state(self, folder):
        return read_last_pose(folder).map_name


class Bag(Scenario):
    def __init__(self, outside):
        self.images = outside / "images"
        (self.images / "rgb").mkdir(parents=True)
        image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
        for stamp in range(3):
            cv2.imwrite(str(self.images / "rgb" / f"{10**18 + stamp * 10**8}.jpg"), image)

    def prepare(self, folder):
        write_bag(open_source(self.images, SourceConfig(last=1)), folder / "bag")

    def write(self, folder):
        write_bag(open_source(self.images, SourceConfig()), folder / "bag", overwrite=True)

    def state(self, folder):
        return {2: "old", 3: "new"}[len(list(open_source(folder / "bag", SourceConfig())))]


SCENARIOS = {
    "save_map": FirstMap,
    "save_map in place of another": AnotherMap,
    "import-hloc in place of another map": ImportedMap,
    "export-hloc": ExportedMap,
    "packing in place of another archive": PackedMap,
    "the last pose": RecordedState,
    "a bag in place of another": Bag,
    "build-map in place of another map": BuiltMap,
    "update in place": UpdatedMap,
}


@dataclass
class Attempt:
    """How one act ended: exit code (negative: the signal), the last line it said, its calls that write."""

    code: int
    words: str
    calls: int


KILLED = Attempt(-signal.SIGKILL, "", 0)


def attempt(write, folder, number=0, failure=0):
    """Write in a process of its own, whose disk fails at the call of that number (0: never)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code, words = 0, ""
        arm(folder, number, failure)
        try:
            write(folder)
        except VislocError as error:
            code, words = 1, str(error)
        except BaseException:
            code, words = 2, traceback.format_exc()
        calls = disarm()
        os.write(writing, json.dumps([words, calls]).encode())
        os.close(writing)
        disk.exit(code)  # libraries may still write, and crash
    os.close(writing)
    with os.fdopen(reading) as said:
        words, calls = json.loads(said.read() or '["", 0]')
    _, status = os.waitpid(child, 0)
    return Attempt(os.waitstatus_to_exitcode(status), words, calls)


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def state_of(scenario, folder):
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return scenario.state(folder)
        except Exception:
            return traceback.format_exc()


def outcome(scenario, folder, failure, number, first):
    """What was said, what is there after the failure, and what is there after the next try."""
    left = listing(folder)
    state = state_of(scenario, folder)
    second = attempt(scenario.again, folder)
    result = {
        "failure": failure,
        "call": number,
        "code": first.code,
        "words": first.words,
        "state": state,
        "left": left,
        "second": [second.code, second.words, state_of(scenario, folder), listing(folder)],
    }
    shutil.rmtree(folder)
    return result


def trial(scenario, start, folder, number, failure):
    """The disk fails at one call, or the process is killed at it."""
    shutil.copytree(start, folder)
    return outcome(scenario, folder, failure, number, attempt(scenario.write, folder, number, FAILURES[failure]))


def snapshots(scenario, place, kept):
    """Write once; gives copies of what lay on the disk before each call: what a process killed then would leave."""
    taken = []

    @ctypes.CFUNCTYPE(None)
    def take():
        taken.append(kept / str(len(taken)))
        shutil.copytree(place, taken[-1])

    disk.faulty_disk_watch(take)
    arm(place)
    scenario.write(place)
    disarm()
    disk.faulty_disk_watch(None)
    return taken


def spread(number, trials):
    """Numbers from 1 on, all of them or so many."""
    return (
        range(1, number + 1)
        if not 0 < trials < number
        else sorted({*np.linspace(1, number, trials).astype(int).tolist()})
    )


def main(name, folder, trials, data=None):
    """Try all of a scenario, and print a line for each trial; the first one is of a disk that does not fail."""
    outside, start, place = folder / "outside", folder / "start", folder / "place"
    for made in (outside, start):
        made.mkdir(parents=True)
    kind = SCENARIOS[name]
    scenario = kind(outside, Path(data)) if kind.is_long else kind(outside)
    scenario.prepare(start)
    before = state_of(scenario, start)

    def report(result):
        print(json.dumps({"scenario": name, **result}), flush=True)

    shutil.copytree(start, place)
    if kind.is_long:
        taken = snapshots(scenario, place, folder / "snapshots")
        state = state_of(scenario, place)
        attempt(scenario.again, place)
        report({"before": before, "calls": len(taken), "state": state, "left": listing(place)})
        for number in spread(len(taken), trials):
            report(outcome(scenario, taken[number - 1], "killed", number, KILLED))
        for failure in ("disk full", "input/output error"):
            for number in spread(len(taken), LONG_TRIALS if not trials else max(1, trials // 4)):
                report(trial(scenario, start, folder / "again", number, failure))
        return
    good = attempt(scenario.write, place)
    report({"before": before, "calls": good.calls, "state": state_of(scenario, place), "left": listing(place)})
    shutil.rmtree(place)
    for failure in FAILURES:
        for number in spread(good.calls, trials):
            report(trial(scenario, start, place, number, failure))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(json.dumps({name: kind.is_long for name, kind in SCENARIOS.items()}))
        sys.exit()
    signal.alarm(3600)
    for chosen in sys.argv[1].split(","):
        main(chosen, Path(sys.argv[2], chosen), int(sys.argv[3]), *sys.argv[4:])
