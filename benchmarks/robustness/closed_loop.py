"""A robot that drives by its pose: the camera sees from its true pose, the wheels follow the estimated one.

Time goes on in steps of a frame, so nothing depends on the speed of this computer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from benchmarks.robustness.incidents import InterruptedAnchors
from testing.corruptions import occluded
from testing.fusion_scenario import OPTICAL
from testing.robustness import Incident
from testing.wheeled_robot import STOP, FloorPlan, PathFollower, WheeledRobot
from visloc_ros.apps.offline_run import RunConfig
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, State
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.odometry import make_odometry
from visloc_ros.pipeline import Backend, BackendConfig, BackendListener, InlineAnchors, Localizer
from visloc_ros.pipeline.output import Published
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.room import Room

BASE_FROM_CAMERA = SE3(OPTICAL @ rotation_matrix([-0.1, 0.0, 0.0]), np.array([0.1, 0.0, 1.3]))
"""On a mast, looking ahead and a little down."""
RADIUS_M = 0.2
TF_TOLERANCE_S = 0.2  # an older pose is refused, as Nav2's controller does by default: the wheels stop
WRONG_M, WRONG_DEG = 0.2, 15.0  # half of what is free beside the path
DRIVING = 0.02  # m/s or rad/s: slower wheels stand

FaultKind = Literal["dark", "carried in the dark", "carried at a blink", "no anchors", "camera silent", "half covered"]


@dataclass(frozen=True)
class Fault:
    """Something that happens on a drive."""

    kind: FaultKind
    when: Incident


class TransformListener(BackendListener):
    """What a TF listener knows: the newest ``map -> base``, and when it is of."""

    def __init__(self) -> None:
        self.state = State.UNINITIALIZED
        self._odom: tuple[int, SE3] | None = None
        self._correction: tuple[int, SE3] | None = None

    def on_published(self, published: Published) -> None:
        """Take what is broadcast at a frame."""
        self.state = published.estimate.state
        if published.odom_from_base is not None:
            self._odom = published.stamp_ns, published.odom_from_base
        if published.map_from_odom is not None:
            ahead_ns = round(BackendConfig().transform_tolerance * NANOSECONDS)
            self._correction = published.stamp_ns + ahead_ns, published.map_from_odom

    def lookup(self, now_ns: int) -> SE3 | None:
        """``map_from_base`` at the newest time at which both transforms are known; None where that is too old."""
        if self._odom is None or self._correction is None:
            return None
        (odom_ns, odom_from_base), (correction_ns, map_from_odom) = self._odom, self._correction
        is_old = now_ns - min(odom_ns, correction_ns) > TF_TOLERANCE_S * NANOSECONDS
        return None if is_old else map_from_odom @ odom_from_base


@dataclass(frozen=True)
class Moment:
    """One frame of a drive: true and estimated pose of the robot, commands to the wheels, and what they do."""

    seconds: float
    state: State
    true: SE3
    believed: SE3 | None
    is_told_to_drive: bool
    speed: float
    clearance: float
    deviation: float

    @property
    def error_m(self) -> float:
        """Distance between true and estimated pose of the robot; NaN without an estimate."""
        if self.believed is None:
            return float("nan")
        return float(np.linalg.norm(self.believed.translation - self.true.translation))

    @property
    def is_wrong(self) -> bool:
        """Whether the estimated pose is wrong."""
        if self.believed is None:
            return False
        return self.error_m > WRONG_M or rotation_angle_deg(self.believed.rotation, self.true.rotation) > WRONG_DEG


class Drive:
    """One drive round and round a room, through faults."""

    def __init__(
        self,
        camera: SimulationConfig,
        room: Room,
        engine: AnchorEngine,
        path: Array,
        faults: tuple[Fault, ...],
        seed: int,
    ) -> None:
        """The ``room`` is lit; ``path`` (N, 2) is closed."""
        self._follower, self._plan, self._faults = PathFollower(path), FloorPlan(room), faults
        self._rng = np.random.default_rng([seed, 1])
        self.robot = WheeledRobot(float(path[0, 0]), float(path[0, 1]), self._along(0), seed)
        self._now_s = 0.0
        self._simulation = simulate(replace(camera, light="none", seed=seed), "localize", room, self)
        config = RunConfig()
        anchors = InlineAnchors(engine, config.anchor_period_s, config.anchor_latency_s)
        gone = next((one.when for one in faults if one.kind == "no anchors"), Incident(0.0, 0.0))
        self._listener = TransformListener()
        self._backend = Backend(
            BackendConfig(fusion=config.fusion),
            InterruptedAnchors(anchors, gone),
            lambda: BASE_FROM_CAMERA,
            self._listener,
        )
        tracker = MapTracker(engine.map, config.map_tracking)
        self._odometry = make_odometry(config.odometry)
        self._localizer = Localizer(self._odometry, self._backend, tracker)

    def pose(self, seconds: float) -> SE3:
        """``map_from_camera`` about now: the camera of the simulation is on the robot."""
        return self.robot.after(seconds - self._now_s) @ BASE_FROM_CAMERA

    def run(self) -> Iterator[Moment]:
        """Drive to the end, frame by frame; the previous frame's pose commands the wheels."""
        step_s = 1.0 / self._simulation.config.rate_hz
        for index in range(len(self._simulation)):
            seconds, stamp_ns = self._simulation.seconds(index), self._simulation.stamp_ns(index)
            self._now_s = seconds
            self._carry(seconds, step_s)
            believed = self._listener.lookup(stamp_ns)
            command = self._follower.command(believed)
            velocity, robot = self.robot.velocity, self.robot
            yield Moment(
                seconds,
                self._listener.state,
                robot.map_from_base,
                believed,
                command != STOP,
                max(abs(velocity.forwards), abs(velocity.turning)),
                self._plan.clearance(robot.x, robot.y),
                self._follower.deviation(robot.x, robot.y),
            )
            frame = self._seen(index, seconds)
            if frame is None:
                self._backend.watch(stamp_ns)
            else:
                self._localizer.process(frame)
            self.robot.step(command, step_s)
        self._odometry.close()
        self._backend.close()

    def _seen(self, index: int, seconds: float) -> Frame | None:
        """What the camera sends: None while it is silent."""
        now = {one.kind for one in self._faults if one.when.begin_s <= seconds < one.when.end_s}
        if "camera silent" in now:
            return None
        frame = self._simulation.frame(index)
        if now & {"dark", "carried in the dark"}:
            return Frame(frame.stamp_ns, np.zeros_like(frame.image), frame.camera, frame.name)
        return occluded(frame, 0.5, self._rng) if "half covered" in now else frame

    def _carry(self, seconds: float, step_s: float) -> None:
        """Set the robot down elsewhere on its path, looking anywhere, in the middle of a fault that says so."""
        for one in self._faults:
            middle_s = 0.5 * (one.when.begin_s + one.when.end_s)
            if one.kind.startswith("carried") and seconds <= middle_s < seconds + step_s:
                point = int(self._rng.integers(len(self._follower.path)))
                aside = self._rng.uniform(-0.15, 0.15, 2)
                x, y = self._follower.path[point] + aside
                self.robot.put(float(x), float(y), self._along(point) + self._rng.uniform(-np.pi, np.pi))

    def _along(self, point: int) -> float:
        """Heading of the path at one of its points."""
        path = self._follower.path
        return float(np.arctan2(*(path[(point + 1) % len(path)] - path[point])[::-1]))


def stretches(moments: list[Moment], holds: list[bool]) -> Iterator[list[Moment]]:
    """Runs of neighbouring moments at which something holds."""
    changes = [0, *(index for index, (a, b) in enumerate(pairwise(holds), 1) if a != b), len(holds)]
    for begin, end in pairwise(changes):
        if holds[begin]:
            yield moments[begin:end]
