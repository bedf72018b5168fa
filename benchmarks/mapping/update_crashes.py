"""Kill -9 of a map's update: at moments spread over its whole run, and before each step of a change-over.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.update_crashes --markdown results/map_changeover.md

At most moments an update that stands still is copied, with its temporary files: a kill leaves just that. At the others
it is killed, and updated again as the next try; elsewhere the next try is the change-over alone: what an update does
last, with the files of a version that was learned before. A step of it is an audit event of Python that changes the
file system: it makes, opens for writing, links, renames or removes something. After each kill the map's folder is
compared with the old and the new one, file by file. Temporary files of a killed update go with the next whole one.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from benchmarks.places import DEMO_MAP
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from testing.redecorated import refurnish
from visloc_ros.core.errors import VislocError
from visloc_ros.core.manifest import check_files, read_manifest, write_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_layout import VERSIONS_FOLDER
from visloc_ros.core.map_versions import changed_folder, list_versions, roll_back, successor
from visloc_ros.evaluation.machine import provenance
from visloc_ros.mapping.update.updater import update_map
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.sources import open_source

SECTION = "Killed updates"
WALK = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=2.0, duration_s=4.0, samples=1, light="day")
CHANGES = {"os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
POLL_S = 0.002
ENDED = 0  # before it was killed: how long it takes depends on what else the computer does
HEADER = (
    "killed", "kills", "old map, to the byte", "new map, to the byte", "anything else", "next try failed",
    "beside the map, at most", "beside it after the next try",
)  # fmt: skip

Act = Callable[[Path], object]


@dataclass(frozen=True)
class Job:
    """What is killed: an act on a copy of the map ``start``."""

    start: Path
    act: Act


@dataclass(frozen=True)
class Trial:
    """What was there after a kill: which map, and bytes beside it; and what the next try said, and left beside it.

    ``at`` is the number of the step, or the processor time in seconds; ``problem`` is empty if the next try succeeded.
    """

    at: float
    state: str
    beside_bytes: int
    problem: str
    left: Sequence[str]


def main() -> None:
    """Kill, look, try again, and write the table."""
    arguments = parse_arguments()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    import_module("torch")  # once, and not in each process that is forked
    old, new, walk = prepare(work)
    learn, change = partial(learn_from, walk), partial(change_over, new)
    update = _Trials(Job(old, learn), work / "moments")
    trials = {
        "update, moments": list(stopped_at_moments(update, change, arguments.moments)),
        "update, killed and updated again": list(killed_at_moments(update, arguments.kills)),
        "change-over, steps": list(killed_at_steps(Job(old, change), work / "steps")),
        "rollback, steps": list(killed_at_steps(Job(new, to_other_version), work / "steps")),
    }
    found = {name: [asdict(trial) for trial in of_job] for name, of_job in trials.items()}
    write_outputs(arguments, SECTION, {**provenance(), "trials": found}, as_markdown(trials))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/update_crashes"), help="folder for maps; emptied first")
    parser.add_argument("--moments", type=int, default=50, help="of the whole update, at which it is copied")
    parser.add_argument("--kills", type=int, default=5, help="of the whole update that are done")
    add_outputs(parser)
    return parser.parse_args()


def prepare(work: Path) -> tuple[Path, Path, Path]:
    """The demo's map, the same after an update, and the walk that it learns from."""
    old, new, walk = work / "old", work / "new", work / "walk"
    with unpacked(DEMO_MAP) as folder:
        shutil.copytree(folder, old)
    write_folder(simulate(WALK, "localize", refurnish(make_living_room(0), 0.3, seed=9)), walk)
    shutil.copytree(old, new)
    learned = _Process(partial(learn_from, walk, new)).wait()  # networks start threads, and this process is to fork
    if learned.code != 0:
        raise SystemExit("the map learns nothing from the walk")
    return old, new, walk


def learn_from(walk: Path, path: Path) -> None:
    """Update a map by a walk."""
    update_map(path, open_source(walk))


def change_over(learned: Path, path: Path) -> None:
    """Let a map that was learned take the place of one, which becomes an earlier version, as an update does."""
    before = read_manifest(path)
    with changed_folder(path, before, path, overwrite=True) as folder:
        shutil.copytree(learned, folder, dirs_exist_ok=True)
        shutil.rmtree(folder / VERSIONS_FOLDER, ignore_errors=True)  # of what was learned
        write_manifest(folder, successor(read_manifest(folder), path, before, "update"))


def to_other_version(path: Path) -> None:
    """Let one of a map's two versions take the place of the other one."""
    (other,) = [version for version in list_versions(path) if not version.is_present]
    roll_back(path, other.number)


def killed_at_steps(job: Job, work: Path) -> Iterator[Trial]:
    """Kill an act before each of its steps; then it is done again."""
    trials = _Trials(job, work)
    for number in range(1, trials.steps + 1):
        trials.begin()
        process = _Process(partial(job.act, trials.room), dies_at=number)
        yield trials.look(number, process.wait().code, job.act)


def killed_at_moments(trials: _Trials, count: int) -> Iterator[Trial]:
    """Kill an act at moments spread evenly over the processor time that it takes; then it is done again."""
    for moment_s in trials.moments_s(count):
        trials.begin()
        process = _Process(partial(trials.job.act, trials.room))
        process.run_until(moment_s)
        os.kill(process.number, signal.SIGKILL)
        yield trials.look(moment_s, process.wait().code, trials.job.act)


def stopped_at_moments(trials: _Trials, again: Act, count: int) -> Iterator[Trial]:
    """What a kill at such a moment would leave: copies made while the act stands still; then the act ``again``."""
    copies = trials.work.with_name("copies")
    moments_s = trials.moments_s(count)
    trials.begin()
    process = _Process(partial(trials.job.act, trials.room))
    for index, moment_s in enumerate(moments_s):
        process.run_until(moment_s)
        with process.standing_still():
            shutil.copytree(trials.work, copies / str(index))
    if process.wait().code != 0:
        raise SystemExit("what stood still for a while fails")
    for index, moment_s in enumerate(moments_s):
        shutil.rmtree(trials.work)
        (copies / str(index)).rename(trials.work)
        yield trials.look(moment_s, -signal.SIGKILL, again)


class _Trials:
    """Trials of one job, in a folder that contains the map, beside a folder for temporary files."""

    def __init__(self, job: Job, work: Path) -> None:
        self.job, self.work, self.room = job, work, work / "place" / "room"
        self.begin()
        whole = _Process(partial(job.act, self.room)).wait()
        if whole.code != 0:
            raise SystemExit("what is to be killed fails by itself")
        self.steps, self._processor_s = whole.steps, whole.processor_s
        print(f"undisturbed: {self.steps} steps, {self._processor_s:.1f} s of processor time", flush=True)
        self._known = {tree(job.start): "old", tree(self.room): "new"}

    def moments_s(self, count: int) -> list[float]:
        """Moments spread evenly over the processor time of the job."""
        return [(index + 0.5) / count * self._processor_s for index in range(count)]

    def begin(self) -> None:
        """A fresh copy of the map, and no temporary files."""
        shutil.rmtree(self.work, ignore_errors=True)
        (self.work / "temporary").mkdir(parents=True)
        tempfile.tempdir = str(self.work / "temporary")
        shutil.copytree(self.job.start, self.room)

    def look(self, at: float, code: int, again: Act) -> Trial:
        """What a process that ended with a code has left, and what there is after the next try."""
        beside_bytes = sum(path.lstat().st_size for path in self._beside())
        state = self._state() if code in (-signal.SIGKILL, ENDED) else f"was not killed, but ended with {code}"
        next_try = _Process(partial(again, self.room)).wait()
        problem = self._problem() if next_try.code == 0 else f"it ended with {next_try.code}"
        left = [str(path.relative_to(self.work)) for path in self._beside()]
        return Trial(at, state, beside_bytes, problem, left)

    def _beside(self) -> list[Path]:
        known = {self.work / "place", self.work / "temporary"}
        return [path for path in self.work.rglob("*") if path not in known and not path.is_relative_to(self.room)]

    def _state(self) -> str:
        try:
            open_map(self.room)
            list_versions(self.room)
        except VislocError as error:
            return str(error)
        return self._known.get(tree(self.room), "neither the old nor the new map")

    def _problem(self) -> str:
        """What is wrong with a map after its last change; empty where nothing is."""
        try:
            open_map(self.room)
            versions = list_versions(self.room)
            for version in versions:
                check_files(version.folder, version.manifest, checksums=True)
        except VislocError as error:
            return str(error)
        numbers = [version.number for version in versions]
        return "" if numbers == list(range(1, len(numbers) + 1)) else f"its versions are {numbers}"


def tree(folder: Path) -> frozenset[tuple[str, str]]:
    """Names and SHA-256 of all files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return frozenset(
        (path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files
    )


@dataclass(frozen=True)
class _Ended:
    """How a process ended: its code, negative for a signal, its steps, and its processor time."""

    code: int
    steps: int
    processor_s: float


class _Process:
    """An act in a process of its own, which dies before the step of a number, from 1 on, where one is given."""

    def __init__(self, act: Callable[[], object], dies_at: int = 0) -> None:
        self._steps = mmap.mmap(-1, 8)  # shared with the child
        self.number = os.fork()
        if self.number == 0:
            code = 1
            try:
                sys.addaudithook(partial(_count_step, self._steps, dies_at))
                act()
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)

    def run_until(self, moment_s: float) -> None:
        """Let it go on until it has used so much processor time."""
        process = psutil.Process(self.number)
        while process.status() != psutil.STATUS_ZOMBIE and sum(process.cpu_times()[:2]) < moment_s:
            time.sleep(POLL_S)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let it stand still."""
        os.kill(self.number, signal.SIGSTOP)
        os.waitid(os.P_PID, self.number, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield
        os.kill(self.number, signal.SIGCONT)

    def wait(self) -> _Ended:
        """Wait for its end."""
        _, status, usage = os.wait4(self.number, 0)
        taken = int.from_bytes(self._steps[:8], "little")
        return _Ended(os.waitstatus_to_exitcode(status), taken, usage.ru_utime + usage.ru_stime)


def _count_step(steps: mmap.mmap, dies_at: int, event: str, arguments: tuple[Any, ...]) -> None:
    if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
        number = int.from_bytes(steps[:8], "little") + 1
        steps[:8] = number.to_bytes(8, "little")
        if number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


def as_markdown(trials: Mapping[str, Sequence[Trial]]) -> str:
    """A row for each job, and what was neither the old nor the new map."""
    others = [
        f"- {name}, at {trial.at:g}: {trial.state}"
        for name, of_job in trials.items()
        for trial in of_job
        if trial.state not in ("old", "new")
    ]
    rows = table(HEADER, [row(name, of_job) for name, of_job in trials.items()])
    return "\n\n".join([rows, *(["\n".join(others)] if others else [])])


def row(name: str, trials: Sequence[Trial]) -> list[str]:
    """The line of a job."""
    states = Counter(trial.state for trial in trials)
    figures = (len(trials), states["old"], states["new"], len(trials) - states["old"] - states["new"])
    return [
        name,
        *map(str, figures),
        str(sum(bool(trial.problem) for trial in trials)),
        f"{max(trial.beside_bytes for trial in trials) / 1e6:.1f} MB",
        f"{sum(len(trial.left) for trial in trials)} files",
    ]


if __name__ == "__main__":
    main()
