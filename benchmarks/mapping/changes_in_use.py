"""Changes of a map under a running robot: poses, tracked poses and transforms against the truth in the frame in use.

``visloc up`` runs as its own processes beside the simulated camera. The map is aligned, built anew, replaced, updated,
rolled back and deleted, and nodes are killed after a load. From the answer of ``load_map`` on, what is published must
be in the frame of the map that it names, within three standard deviations; before it, in the frame before or in that.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.changes_in_use --markdown results/map_changeover.md
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovariance, PoseWithCovarianceStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from tf2_msgs.msg import TFMessage

from benchmarks.places import DEMO_MAP
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.redecorated import refurnish
from visloc_msgs.msg import LocalizationStatus, TrackedPose
from visloc_msgs.srv import LoadMap
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.manifest import in_frame, read_manifest, write_manifest
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.evaluation.machine import provenance
from visloc_ros.mapping.alignment.aligned_map import align_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE, TF
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg, transform_from_msg

SECTION = "Changed under a running robot"
MOVED = Sim3.from_se3(SE3.from_rotation_vector([0.0, 0.0, 0.7], [3.0, -2.0, 0.5]))
SIGMAS, SETTLED_S, WATCHED_S, TIMEOUT_S = 3.0, 5.0, 12.0, 120.0
UPDATE = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=2.0, duration_s=4.0, samples=1, light="day")
HEADER = (
    "change", "answers", "poses", "wrong", "transforms", "wrong", "tracked", "wrong", "localized after",
    "map points followed after", "said meanwhile",
)  # fmt: skip


@dataclass
class Heard:
    """What has come of one kind: when, the image's stamp, the pose and the largest deviation of its position."""

    rows: list[tuple[float, int, SE3, float]] = field(default_factory=list)


class Observer(Node):
    """Keeps what the nodes publish, and the truth, which is that of the demo's map as it came."""

    def __init__(self) -> None:
        super().__init__("observer", namespace="visloc")
        self.poses, self.tracked, self.transforms = Heard(), Heard(), Heard()
        self.truth: dict[int, SE3] = {}
        self.states: list[tuple[float, int, int]] = []
        self.problems: list[tuple[float, str]] = []
        self._map_from_odom: list[tuple[int, SE3]] = []
        self.create_subscription(PoseStamped, "ground_truth", self._take_truth, RELIABLE)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._take_pose, LATCHED)
        self.create_subscription(TrackedPose, "map_tracking", self._take_tracked, RELIABLE)
        self.create_subscription(LocalizationStatus, "status", self._take_status, EACH_LATCHED)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, RELIABLE)
        self.create_subscription(TFMessage, "/tf", self._take_tf, TF)
        self.load = self.create_client(LoadMap, "anchor_node/load_map")

    def _take_truth(self, message: PoseStamped) -> None:
        self.truth[stamp_from_msg(message.header.stamp)] = pose_from_msg(message.pose)

    def _take_pose(self, message: PoseWithCovarianceStamped) -> None:
        self._keep(self.poses, stamp_from_msg(message.header.stamp), message.pose, BASE_FROM_OPTICAL)

    def _take_tracked(self, message: TrackedPose) -> None:
        if message.tracked:
            self._keep(self.tracked, stamp_from_msg(message.header.stamp), message.pose, SE3.identity())

    @staticmethod
    def _keep(heard: Heard, stamp_ns: int, pose: PoseWithCovariance, body_from_camera: SE3) -> None:
        sigma = float(np.sqrt(np.linalg.eigvalsh(np.reshape(pose.covariance, (6, 6))[:3, :3])[-1]))
        heard.rows.append((time.monotonic(), stamp_ns, pose_from_msg(pose.pose) @ body_from_camera, sigma))

    def _take_tf(self, message: TFMessage) -> None:
        for one in message.transforms:
            edge, transform = (one.header.frame_id, one.child_frame_id), transform_from_msg(one.transform)
            stamp_ns = stamp_from_msg(one.header.stamp)
            if edge == ("map", "odom"):
                insort(self._map_from_odom, (stamp_ns, transform), key=lambda entry: entry[0])
            elif edge == ("odom", "base_link") and self.poses.rows:
                self._look_up(stamp_ns, transform)

    def _look_up(self, stamp_ns: int, odom_from_base: SE3) -> None:
        """The transform at a stamp, between the ones around it, as TF gives it; none after the last one."""
        row = bisect_left(self._map_from_odom, stamp_ns, key=lambda entry: entry[0])
        if not 0 < row < len(self._map_from_odom):
            return
        (before_ns, before), (after_ns, after) = self._map_from_odom[row - 1 : row + 1]
        map_from_odom = before.interpolate(after, (stamp_ns - before_ns) / (after_ns - before_ns))
        camera = map_from_odom @ odom_from_base @ BASE_FROM_OPTICAL
        self.transforms.rows.append((time.monotonic(), stamp_ns, camera, self.poses.rows[-1][3]))

    def _take_status(self, message: LocalizationStatus) -> None:
        self.states.append((time.monotonic(), message.state, message.support))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for one in message.status:
            if one.level == b"\x02":
                self.problems.append((time.monotonic(), f"{one.name.split(':')[0].split('/')[-1]}: {one.message}"))


@dataclass(frozen=True)
class Change:
    """A change: when it was answered, the frames that may be in use before and after, and what was answered."""

    name: str
    begin_s: float
    answered_s: float
    before: SE3
    after: SE3
    answers: str


class Robot:
    """The nodes, what they publish, and the frame in use: the transform from the truth's frame."""

    def __init__(self, work: Path, observer: Observer) -> None:
        self.work, self.observer, self.room = work, observer, work / "maps" / "room"
        self.in_use = SE3.identity()
        self.changes: list[Change] = []

    def load(self, path: Path) -> Future:
        """Ask for a map."""
        return self.observer.load.call_async(LoadMap.Request(map_path=str(path.absolute())))

    def answer(self, asked: Future) -> str:
        """The answer, in short."""
        wait_for(asked.done)
        answer: LoadMap.Response = asked.result()  # type: ignore[no-untyped-call]
        return "success" if answer.code == 0 else f"code {answer.code}, '{answer.map_name}' stays"

    def change(self, name: str, act: Callable[[], tuple[str, SE3]]) -> None:
        """Make a change; ``act`` gives what was answered, and the frame in use after it."""
        time.sleep(SETTLED_S)
        begin_s, before = time.monotonic(), self.in_use
        answers, self.in_use = act()
        self.changes.append(Change(name, begin_s, time.monotonic(), before, self.in_use, answers))
        time.sleep(WATCHED_S)
        print(name, answers, self.figures(self.changes[-1]), flush=True)

    def figures(self, change: Change) -> Figures:
        """What was published from the begin of a change until the end of its watch."""
        observer, end_s = self.observer, change.answered_s + WATCHED_S
        of_kinds = {
            kind: self._judge(heard, change, end_s)
            for kind, heard in (
                ("poses", observer.poses),
                ("transforms", observer.transforms),
                ("tracked", observer.tracked),
            )
        }
        after = [one for one in observer.states if change.answered_s <= one[0] < end_s]
        localized = (one[0] for one in after if one[1] == LocalizationStatus.LOCALIZED)
        followed = (one[0] for one in observer.tracked.rows if change.answered_s <= one[0] < end_s)
        words = {words for moment, words in observer.problems if change.begin_s <= moment < end_s}
        said = sorted(one.replace(f"{self.work.absolute()}/", "") for one in words)
        return {
            **of_kinds,
            "localized_s": next(localized, np.inf) - change.answered_s,
            "followed_s": next(followed, np.inf) - change.answered_s,
            "said": said,
        }

    def _judge(self, heard: Heard, change: Change, end_s: float) -> tuple[int, int, float]:
        """How many came, how many of them are wrong, and the largest error in standard deviations."""
        errors = []
        for moment, stamp_ns, pose, sigma in list(heard.rows):
            truth = self.observer.truth.get(stamp_ns)
            if truth is not None and change.begin_s <= moment < end_s:
                frames = [change.after] if moment >= change.answered_s else [change.before, change.after]
                far = min(np.linalg.norm(pose.translation - (frame @ truth).translation) for frame in frames)
                errors.append(float(far) / sigma)
        return len(errors), sum(error > SIGMAS for error in errors), max(errors, default=0.0)


def main() -> None:
    """Make the changes, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/changes_in_use"), help="folder for maps and walks")
    add_outputs(parser)
    arguments: argparse.Namespace = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    prepare(arguments.work)
    os.environ.update(LOOPBACK_ONLY | fast_dds_profile() | {"ROS_DOMAIN_ID": str(free_domain_id())})
    rclpy.init()
    observer = Observer()
    executor = SingleThreadedExecutor()
    executor.add_node(observer)
    threading.Thread(target=executor.spin, daemon=True).start()
    robot = Robot(arguments.work, observer)
    with running_nodes(robot.room) as nodes:
        wait_for(lambda: any(one[1] == LocalizationStatus.LOCALIZED for one in observer.states))
        make_changes(robot, nodes)
    figures = {one.name: robot.figures(one) for one in robot.changes}
    write_outputs(arguments, SECTION, {**provenance(), "changes": figures}, as_markdown(robot.changes, figures))
    os._exit(0)  # the executor still spins


def prepare(work: Path) -> None:
    """The maps, all under one name, and the walk of the update."""
    (work / "maps").mkdir(parents=True)
    shutil.unpack_archive(DEMO_MAP, work / "maps" / "room")
    shutil.copytree(work / "maps" / "room", work / "elsewhere" / "room")
    shutil.copytree(work / "maps" / "room", work / "maps" / "hall")
    move(work / "elsewhere" / "room", MOVED, is_known=False)
    move(work / "maps" / "hall", MOVED.inverse, is_known=False)
    write_folder(simulate(UPDATE, "localize", refurnish(make_living_room(0), 0.3, seed=9)), work / "walk")


def move(path: Path, moved_from_map: Sim3, *, is_known: bool) -> None:
    """Move a map to another frame, in which the one before is known to lie so, or which is that of another build."""
    fit = MapFit(moved_from_map, "this benchmark", {}, metric=True, gravity_aligned=True)
    align_map(path, path, lambda _: fit, overwrite=True)
    if not is_known:
        write_manifest(path, replace(in_frame(read_manifest(path), CoordinateFrame.new()), history=()))


@contextmanager
def running_nodes(map_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``visloc up`` with the simulated camera, as long as the block lasts."""
    command = [sys.executable, "-m", "visloc_ros.apps.cli", "up", "--map", str(map_path), "--simulated"]
    command += ["--domain-id", os.environ["ROS_DOMAIN_ID"]]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def make_changes(robot: Robot, nodes: subprocess.Popen[bytes]) -> None:
    """The ten changes, one after the other."""
    room, other, hall = robot.room, robot.work / "elsewhere" / "room", robot.work / "maps" / "hall"
    once, twice, back = (by.apply_to_pose(SE3.identity()) for by in (MOVED, MOVED @ MOVED, MOVED.inverse))

    def loaded(path: Path, frame: SE3) -> tuple[str, SE3]:
        return robot.answer(robot.load(path)), frame

    def aligned() -> tuple[str, SE3]:
        move(room, MOVED, is_known=True)
        return loaded(room, once)

    def built_anew() -> tuple[str, SE3]:
        move(room, MOVED, is_known=False)
        return loaded(room, twice)

    def update(*options: object) -> tuple[str, SE3]:
        run_visloc("update-map", room, *options)
        return loaded(room, twice)

    def deleted() -> tuple[str, SE3]:
        shutil.rmtree(hall)
        return loaded(hall, back)

    def two_at_once() -> tuple[str, SE3]:
        first, second = robot.load(other), robot.load(room)
        return f"{robot.answer(first)}; {robot.answer(second)}", twice

    def killed(node: str) -> tuple[str, SE3]:
        kill(nodes, node)
        return "–", robot.in_use

    def while_updating() -> tuple[str, SE3]:
        running = subprocess.Popen([sys.executable, "-m", "visloc_ros.apps.cli", "update-map", str(room), walk])
        answers = []
        while running.poll() is None:
            answers.append(robot.answer(robot.load(room)))
        return f"{len(answers)} x {', '.join(sorted(set(answers)))}", twice

    walk = str(robot.work / "walk")
    robot.change("aligned under its name", aligned)
    robot.change("built anew under its name", built_anew)
    robot.change("of the same name, from another folder", lambda: loaded(other, once))
    robot.change("the anchor node killed after that", lambda: killed("anchor_node"))
    robot.change("of another name", lambda: loaded(hall, back))
    robot.change("deleted while in use, and loaded again", deleted)
    robot.change("back to the first one", lambda: loaded(room, twice))
    robot.change("updated", lambda: update(walk))
    robot.change("rolled back", lambda: update("--rollback", 0))
    robot.change("two loads at once", two_at_once)
    robot.change("loaded over and over while it is updated", while_updating)
    robot.change("the localization node killed", lambda: killed("localization_node"))


def kill(nodes: subprocess.Popen[bytes], node: str) -> None:
    """Kill the process of a node that ``visloc up`` has started."""
    for process in psutil.Process(nodes.pid).children(recursive=True):
        if f"visloc_ros.nodes.{node} import" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)


def run_visloc(*words: object) -> None:
    """Run the ``visloc`` command. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "visloc_ros.apps.cli", *map(str, words)], check=True)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds. Raises TimeoutError."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nothing came within {TIMEOUT_S:.0f} s")
        time.sleep(0.02)


def as_markdown(changes: list[Change], figures: Mapping[str, Figures]) -> str:
    """A row for each change."""
    words = (
        "Wrong is what is more than three standard deviations off in the frame in use; beside it the largest error in "
        "standard deviations. Times are from the answer of `load_map`, or from the kill."
    )
    return "\n\n".join([words, table(HEADER, [_row(one, figures[one.name]) for one in changes])])


def _row(change: Change, figures: Figures) -> list[str]:
    kinds = []
    for kind in ("poses", "transforms", "tracked"):
        count, wrong, worst = figures[kind]
        kinds += [str(count), f"{wrong} ({worst:.1f} σ)"]
    times = [
        f"{figures[name]:.1f} s" if np.isfinite(figures[name]) else "not" for name in ("localized_s", "followed_s")
    ]
    return [change.name, change.answers, *kinds, *times, "; ".join(figures["said"]) or "–"]


if __name__ == "__main__":
    main()
