"""Cameras that go wrong on a robot with two, the leading one and the one beside it, and on a robot with one.

``visloc up`` runs as its own processes. A player sends the images of two cameras at right angles over DDS, ten a
second, those of the left one 37 ms after those of the front one unless a trigger takes them together, each image
encoded anew; the room, the walk and the truth are the simulation's. A pose is wrong where it is LOCALIZED and off by
more than five standard deviations, the largest ones of position and of rotation. The truth of a pose is that of the
image with its stamp, or of that time by the other camera's clock, the robot's body where the mount of either camera
puts it; images that are on their way when a mount changes may have either. The latency of a pose is the time from when
its image was sent until the pose came. "stuck" is a scene that stands still with new noise. One robot runs all faults
one after the other, with time to recover in between.

Run: OMP_NUM_THREADS=1 python -m benchmarks.robustness.camera_faults --markdown results/rigs.md
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten

import cv2
import numpy as np
import pycolmap
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from benchmarks.busy_programs import SPINNING, beside
from benchmarks.places import simulated_room
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_msgs.msg import LocalizationStatus, OdometryStatus
from visloc_ros.apps.replay import LOOPBACK_ONLY, free_domain_id
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.middleware import fast_dds_profile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Image
from visloc_ros.evaluation.machine import provenance
from visloc_ros.nodes.conversions import camera_to_msg, header, transform_to_msg
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE, TF_STATIC
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS, LaterPath, MountedPath
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

CAMERAS = ("front", "left")
PREFIXES = {"front": "", "left": "left/"}
FRONT_FROM_LEFT = SE3(rotation_matrix([0.0, -np.pi / 2, 0.0]), np.array([-0.1, 0.0, -0.1]))
TURNED = SE3(rotation_matrix([0.0, np.radians(3.0), 0.0]), np.zeros(3))
PHASE = 0.37  # of a frame, by which the left camera's image is taken later
RATE_HZ, FAULT_S, RECOVERY_S, BEGIN_S = 10.0, 6.0, 5.0, 15.0
SIGMAS = 5.0
ON_THEIR_WAY = 10  # images, at most
HEADER = (
    "robot", "fault", "poses", "of images", "LOCALIZED", "wrong", "largest [sigma]", "median error",
    "latency p50, p95", "other leads", "says",
)  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """What a camera sends at one time: whose image, how many images ago, changed how, and stamped how much later."""

    camera: str
    ago: int = 0
    change: Callable[[Image], Image] = lambda image: image
    offset_ns: int = 0
    stamped_ago: int = 0
    is_repeated: bool = False


Fault = Callable[[str, int], Shown | None]
"""What a camera sends at a step of the fault, None for nothing."""


def other_than(camera: str) -> str:
    """The other camera."""
    return CAMERAS[1 - CAMERAS.index(camera)]


def dark(image: Image) -> Image:
    """A covered lens."""
    return np.random.default_rng().integers(0, 5, image.shape).astype(np.uint8)


def bright(image: Image) -> Image:
    """A lens that looks into the sun."""
    return np.clip(image.astype(np.int16) + 200, 0, 255).astype(np.uint8)


def blurred(image: Image) -> Image:
    """A lens out of focus."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 5.0))


FAULTS: dict[str, Fault] = {
    "none": lambda camera, _: Shown(camera),
    "frozen": lambda camera, step: Shown(camera, step, is_repeated=True),
    "stuck": lambda camera, step: Shown(camera, step),
    "unplugged": lambda camera, step: None,
    "covered": lambda camera, _: Shown(camera, change=dark),
    "overexposed": lambda camera, _: Shown(camera, change=bright),
    "out of focus": lambda camera, _: Shown(camera, change=blurred),
    "mirrored": lambda camera, _: Shown(camera, change=lambda image: np.ascontiguousarray(image[:, ::-1])),
    "upside down": lambda camera, _: Shown(camera, change=lambda image: np.ascontiguousarray(image[::-1, ::-1])),
    "turned by 3 deg": lambda camera, _: Shown(camera),
    "0.2 s late": lambda camera, _: Shown(camera, 2, stamped_ago=2),
    "stamped 0.31 s late": lambda camera, _: Shown(camera, offset_ns=310_000_000),
    "stamped 0.31 s early": lambda camera, _: Shown(camera, offset_ns=-310_000_000),
    "stamped 4 ms late": lambda camera, _: Shown(camera, offset_ns=4_000_000),
    "a clock that drifts by 2 %": lambda camera, step: Shown(camera, offset_ns=step * 2_000_000),
    "stamps that jitter by 15 ms": lambda camera, step: Shown(camera, offset_ns=(step * 7919 % 31 - 15) * 1_000_000),
    "half of the rate": lambda camera, step: Shown(camera) if step % 2 else None,
    "bursts of four missing": lambda camera, step: Shown(camera) if step % 8 < 4 else None,
    "each third image an old one": lambda camera, step: Shown(camera, 8 if step % 3 == 0 else 0),
    "the image of the other camera": lambda camera, _: Shown(other_than(camera)),
}
OF_TWO = ("stuck", "upside down", "turned by 3 deg", "each third image an old one", "the image of the other camera")
"""What one camera alone, without other sensors, cannot tell from a motion or a mount."""


@dataclass
class Walk:
    """The images of both cameras, without noise, and where the front one was.

    ``phases`` are the shares of a frame by which a camera's images are taken later, ``step_s`` is the time between two
    images on the walk, which a faster robot covers sooner.
    """

    frames: dict[str, list[Image]]
    cameras: dict[str, pycolmap.Camera]
    phases: dict[str, float]
    step_s: float

    @staticmethod
    def make(seconds: float, phase: float, speed: float, work: Path) -> Walk:
        """Render the walk, or read it again."""
        step_s = speed / RATE_HZ
        config = SimulationConfig(
            width=480,
            height=360,
            focal_px=360.0,
            rate_hz=1.0 / step_s,
            duration_s=seconds * speed,
            samples=1,
            noise_std=0.0,
        )
        to_the_left = MountedPath(PATHS["localize"], FRONT_FROM_LEFT)
        made = {
            "front": simulate(config, "localize"),
            "left": simulate(config, "localize", path=LaterPath(to_the_left, phase * step_s)),
        }
        frames = {}
        for name, simulation in made.items():
            folder = work / f"{name}_{phase if name == 'left' else 0.0:.2f}_{speed:g}"
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(config.num_frames):
                if not (folder / f"{index:05d}.png").exists():
                    image = cv2.cvtColor(simulation.frame(index).image, cv2.COLOR_RGB2GRAY)
                    cv2.imwrite(str(folder / f"{index:05d}.png"), image)
            frames[name] = [
                np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
                for path in sorted(folder.iterdir())[: config.num_frames]
            ]
        cameras = {name: simulation.camera for name, simulation in made.items()}
        return Walk(frames, cameras, {"front": 0.0, "left": phase}, step_s)

    def pose_at(self, step: float) -> SE3:
        """Where the front camera was between two steps, or at one."""
        return PATHS["localize"].pose(step * self.step_s)


@dataclass
class Case:
    """One fault of one camera: when it began and ended, and the steps of the walk."""

    robot: str
    fault: str
    first: int
    last: int
    faulty: str = CAMERAS[0]
    begin_s: float = 0.0
    end_s: float = 0.0


@dataclass
class Client(Node):
    """Sends the images, and keeps what the nodes publish."""

    walk: Walk
    names: tuple[str, ...]
    truth: dict[int, tuple[SE3, ...]] = field(default_factory=dict)
    base_moved: SE3 = field(default_factory=SE3.identity)  # by a mount that is wrong

    def __post_init__(self) -> None:
        super().__init__("client", namespace="visloc")
        self.poses: list[tuple[float, int, SE3, np.ndarray]] = []
        self.states: dict[int, int] = {}
        self.leads: list[tuple[float, str]] = []
        self.words: list[tuple[float, str]] = []
        self.sent: dict[str, list[float]] = {name: [] for name in self.names}
        self.sent_s: dict[int, float] = {}  # of each stamp
        self._last = dict.fromkeys(self.names, b"")
        self._rng = np.random.default_rng(0)
        self._topics = {
            name: (
                self.create_publisher(CameraInfo, f"{PREFIXES[name]}camera_info", RELIABLE),
                self.create_publisher(CompressedImage, f"{PREFIXES[name]}image/compressed", RELIABLE),
            )
            for name in self.names
        }
        self._mounts = self.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self._take_pose, LATCHED)
        self.create_subscription(LocalizationStatus, "status", self._take_status, EACH_LATCHED)
        self.create_subscription(OdometryStatus, "odometry_status", self._take_odometry, RELIABLE)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, RELIABLE)

    def __hash__(self) -> int:
        return id(self)

    def mount(self, turned: str = "") -> None:
        """Say where the cameras are, one of them wrongly."""
        places = {"front": SE3.identity(), "left": FRONT_FROM_LEFT}
        transforms = [
            transform_to_msg(0, "base", name, place @ TURNED if name == turned else place)
            for name, place in places.items()
        ]
        self._mounts.publish(TFMessage(transforms=transforms))
        self.base_moved = (places[turned] @ TURNED @ places[turned].inverse).inverse if turned else SE3.identity()
        for stamp_ns in list(self.truth)[-ON_THEIR_WAY:]:
            self.truth[stamp_ns] += (self.truth[stamp_ns][0] @ self.base_moved,)

    @property
    def leading(self) -> str:
        """The camera that odometry follows."""
        return self.leads[-1][1] if self.leads else CAMERAS[0]

    def send(self, name: str, step: int, shown: Shown, now_ns: int) -> None:
        """Send what a camera shows at a step."""
        index = step - shown.ago
        stamp_ns = now_ns - round(shown.stamped_ago * NANOSECONDS / RATE_HZ) + shown.offset_ns
        if not (shown.is_repeated and self._last[name]):
            image = shown.change(self.walk.frames[shown.camera][index])
            noise = self._rng.integers(-2, 3, image.shape, np.int16)
            self._last[name] = encode_jpeg(np.clip(image + noise, 0, 255).astype(np.uint8), 92)
        infos, images = self._topics[name]
        if name == self.leading or stamp_ns not in self.truth:
            taken = step - shown.stamped_ago + self.walk.phases[name]
            shown_at = self.walk.pose_at(taken)
            by_other_clock = self.walk.pose_at(taken + shown.offset_ns * RATE_HZ / NANOSECONDS)
            self.truth[stamp_ns] = shown_at, by_other_clock, shown_at @ self.base_moved
            self.sent_s[stamp_ns] = time.monotonic()
        infos.publish(camera_to_msg(stamp_ns, name, self.walk.cameras[name]))
        images.publish(CompressedImage(header=header(stamp_ns, name), format="jpeg", data=self._last[name]))
        self.sent[name].append(time.monotonic())

    def _take_pose(self, message: PoseWithCovarianceStamped) -> None:
        covariance = np.reshape(message.pose.covariance, (6, 6))
        stamp_ns = stamp_from_msg(message.header.stamp)
        self.poses.append((time.monotonic(), stamp_ns, pose_from_msg(message.pose.pose), covariance))

    def _take_status(self, message: LocalizationStatus) -> None:
        self.states[stamp_from_msg(message.header.stamp)] = message.state

    def _take_odometry(self, message: OdometryStatus) -> None:
        if not self.leads or self.leads[-1][1] != message.header.frame_id:
            self.leads.append((time.monotonic(), message.header.frame_id))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for one in message.status:
            if one.level != b"\x00":
                self.words.append((time.monotonic(), one.message))

    def figures(self, case: Case) -> Figures:
        """What was published during a case."""
        errors_m, latencies_ms, sigmas, localized = [], [], [], 0
        sound = other_than(case.faulty) if len(self.names) > 1 else case.faulty
        for moment, stamp_ns, pose, covariance in self.poses:
            truth = self.truth.get(stamp_ns)
            if truth is None or not case.begin_s <= moment < case.end_s:
                continue
            errors_m.append(min(float(np.linalg.norm(pose.translation - one.translation)) for one in truth))
            latencies_ms.append(1e3 * (moment - self.sent_s[stamp_ns]))
            if self.states.get(stamp_ns) == LocalizationStatus.LOCALIZED:
                localized += 1
                sigmas.append(min(errors_in_sigmas(pose, covariance, one) for one in truth))
        said = {words for moment, words in self.words if case.begin_s <= moment < case.end_s}
        return {
            "poses": len(errors_m),
            "images": sum(case.begin_s <= moment < case.end_s for moment in self.sent[sound]),
            "localized": localized,
            "wrong": sum(one > SIGMAS for one in sigmas),
            "largest": max(sigmas, default=0.0),
            "median_m": float(np.median(errors_m)) if errors_m else float("nan"),
            "latency_ms": [float(one) for one in np.percentile(latencies_ms, [50, 95])] if errors_m else [],
            "leads": sum(case.begin_s <= moment < case.end_s for moment, _ in self.leads),
            "says": sorted(said),
        }


def errors_in_sigmas(pose: SE3, covariance: np.ndarray, truth: SE3) -> float:
    """The larger error, of position or rotation, in its largest standard deviation."""
    sigma_m, sigma_rad = (np.sqrt(np.linalg.eigvalsh(covariance[part, part])[-1]) for part in (slice(3), slice(3, 6)))
    metres = float(np.linalg.norm(pose.translation - truth.translation))
    radians = np.radians(rotation_angle_deg(pose.rotation, truth.rotation))
    return float(max(metres / sigma_m, radians / sigma_rad))


def main() -> None:
    """Run all cases, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/camera_faults"), help="folder for images")
    parser.add_argument("--busy", type=int, default=0, help="number of other programs that keep a processor busy")
    parser.add_argument("--triggered", action="store_true", help="a trigger takes the images of both cameras together")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times as fast the robot walks")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names of faults, separated by commas")
    parser.add_argument("--robots", default="one,leading,beside", help="one camera, or which of two has the fault")
    add_outputs(parser)
    arguments: argparse.Namespace = parser.parse_args()
    os.environ.update(LOOPBACK_ONLY | fast_dds_profile())
    faults = [fault for fault in arguments.faults.split(",") if fault in FAULTS]
    rows = []
    for robot in arguments.robots.split(","):
        chosen = [one for one in faults if robot != "one" or one not in OF_TWO]
        rows += run(robot, chosen, arguments)
    name = f"Cameras that go wrong, beside {arguments.busy} busy programs"
    name += ", with a trigger" if arguments.triggered else ""
    name += f", {arguments.speed:g} times as fast" if arguments.speed != 1.0 else ""
    write_outputs(arguments, name, {**provenance(), "rows": rows}, table(HEADER, [cells(row) for row in rows]))


def run(robot: str, faults: list[str], arguments: argparse.Namespace) -> list[Figures]:
    """All faults of one robot, one after the other."""
    names = CAMERAS[:1] if robot == "one" else CAMERAS
    phase = 0.0 if arguments.triggered else PHASE
    walk = Walk.make(BEGIN_S + len(faults) * (FAULT_S + RECOVERY_S) + 1.0, phase, arguments.speed, arguments.work)
    os.environ["ROS_DOMAIN_ID"] = str(free_domain_id())
    rclpy.init()
    client = Client(walk, names)
    executor = SingleThreadedExecutor()
    executor.add_node(client)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    client.mount()
    cases = [
        Case(robot, fault, *(round(RATE_HZ * s) for s in (begin_s, begin_s + FAULT_S)))
        for fault, begin_s in zip(faults, np.arange(len(faults)) * (FAULT_S + RECOVERY_S) + BEGIN_S, strict=True)
    ]
    with running_nodes(names, arguments.work), beside(SPINNING, arguments.busy):
        play(client, cases)
        time.sleep(1.0)
    rows = [{"robot": robot, "fault": case.fault, **client.figures(case)} for case in cases]
    executor.shutdown()
    spinning.join()
    client.destroy_node()  # type: ignore[no-untyped-call]
    rclpy.shutdown()
    return rows


def play(client: Client, cases: list[Case]) -> None:
    """Send all images at their times, and note when each case begins and ends."""
    while client.count_subscribers("image/compressed") < 2:
        time.sleep(0.1)
    begin_s, begin_ns = time.monotonic(), time.time_ns()
    for step in range(cases[-1].last + round(RECOVERY_S * RATE_HZ)):
        wait_until(begin_s + step / RATE_HZ)
        case = next((one for one in cases if one.first <= step < one.last), None)
        started = next((one for one in cases if one.first == step), None)
        ended = next((one for one in cases if one.last == step), None)
        if ended is not None:
            ended.end_s = time.monotonic()
            client.mount()
            print(ended.robot, ended.fault, client.figures(ended), flush=True)
        if started is not None:
            started.begin_s, started.end_s = time.monotonic(), np.inf
            started.faulty = other_than(client.leading) if started.robot == "beside" else client.leading
            if started.fault == "turned by 3 deg":
                client.mount(started.faulty)
        for name in client.names:
            taken_s = (step + client.walk.phases[name]) / RATE_HZ
            wait_until(begin_s + taken_s)
            fault = FAULTS[case.fault] if case is not None and name == case.faulty else FAULTS["none"]
            shown = fault(name, 0 if case is None else step - case.first)
            if shown is not None:
                client.send(name, step, shown, begin_ns + round(taken_s * NANOSECONDS))


def wait_until(moment_s: float) -> None:
    """Sleep until then, by the monotonic clock."""
    time.sleep(max(0.0, moment_s - time.monotonic()))


@contextmanager
def running_nodes(names: tuple[str, ...], work: Path) -> Iterator[None]:
    """``visloc up`` for these cameras, as long as the block lasts."""
    parameters = work / "parameters.yaml"
    cameras = " ".join(names[1:])
    nodes = ("odometry_node", "anchor_node")
    parameters.write_text("".join(f"/**/{one}:\n  ros__parameters:\n    cameras: '{cameras}'\n" for one in nodes))
    place, maps = simulated_room(work), work / "maps"
    place.open_map(maps)  # built as users' maps are, if missing
    command = [
        sys.executable,
        "-m",
        "visloc_ros.apps.cli",
        "up",
        "--map",
        str(maps / place.name),
        "--base-frame",
        "base",
    ]
    command += ["--params-file", str(parameters), "--domain-id", os.environ["ROS_DOMAIN_ID"]]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def cells(row: Figures) -> list[str]:
    """A row of the table."""
    return [
        str(row["robot"]),
        str(row["fault"]),
        str(row["poses"]),
        str(row["images"]),
        str(row["localized"]),
        str(row["wrong"]),
        f"{row['largest']:.1f}",
        f"{100.0 * row['median_m']:.1f} cm" if row["poses"] else "–",
        ", ".join(f"{one:.0f}" for one in row["latency_ms"]) + " ms" if row["poses"] else "–",
        str(row["leads"]),
        shorten("; ".join(sorted({shorten(words, 90) for words in row["says"]})), 180),
    ]


if __name__ == "__main__":
    main()
