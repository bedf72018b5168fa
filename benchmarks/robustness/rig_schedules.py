"""A camera of two that goes wrong while a busy computer follows few of the images: map tracking alone, no processes.

Each case is ten seconds of a walk in the simulated room, followed by ``RigMapTracker`` at ten images a second. By the
case's seed 0, 20 or 50 % of the frames are skipped, and stalls of 0.3 to 0.8 s; of the other camera's images all, half
or 15 % are looked at where they are needed, up to 0.4 s late. One of both cameras has the fault, for one to four
seconds. Odometry is what the leading camera shows, off by 1 %: it stands while that sticks, and is lost for up to 0.7 s
where the view leaps, and while it is not the right way up. Anchors are found by the search in its own sound images, and
come 0.4 to 1.5 s later. No other camera is let lead. A pose is wrong if it is off by more than five standard
deviations, the largest ones of position and of rotation.

Run: OMP_NUM_THREADS=1 python -m benchmarks.robustness.rig_schedules --markdown results/rigs.md
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.places import simulated_room
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from benchmarks.robustness.camera_faults import (
    CAMERAS,
    FAULTS,
    FRONT_FROM_LEFT,
    PHASE,
    RATE_HZ,
    SIGMAS,
    Shown,
    Walk,
    errors_in_sigmas,
)
from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.tangent import perturbed
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Frame, TrackedPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.map_tracking import MapTrackingConfig, OtherImage, RigMapTracker

KINDS = ("none", "stuck", "covered", "upside down", "mirrored", "the image of the other camera")
TURNED = ("covered", "upside down", "mirrored")  # odometry is lost
WALK_S, CASE = 120.0, 100  # images of a case
HEADER = ("fault", "cases", "frames", "poses", "wrong", "in cases", "largest [sigma]")


@dataclass
class Images:
    """The newest image of the other camera that was looked at."""

    leading = CAMERAS[0]
    newest: Frame | None = None

    def others(self, stamp_ns: int) -> Mapping[str, OtherImage]:
        """It, for the tracker of the rig."""
        return {} if self.newest is None else {CAMERAS[1]: OtherImage(self.newest, FRONT_FROM_LEFT)}


class World:
    """The walk with its map; a step is a tenth of a second."""

    def __init__(self, work: Path) -> None:
        place, maps = simulated_room(work), work / "maps"
        place.open_map(maps)
        self.map = open_searchable_map(maps / place.name)
        self._engine = AnchorEngine(self.map)
        self.walk = Walk.make(WALK_S, PHASE, 1.0, work)
        self.anchor = lru_cache(maxsize=None)(self._anchor)

    def frame(self, camera: str, step: int, shown: Shown, rng: np.random.Generator) -> Frame:
        """What a camera sends at a step, with noise."""
        image = shown.change(self.walk.frames[shown.camera][step - shown.ago])
        noisy = np.clip(image + rng.integers(-2, 3, image.shape, np.int16), 0, 255).astype(np.uint8)
        stamp_ns = round((step + self.walk.phases[camera]) * NANOSECONDS / RATE_HZ)
        return Frame(stamp_ns, noisy, self.walk.cameras[camera])

    def view(self, step: int, shown: Shown) -> SE3:
        """``map_from_camera`` of what the leading camera shows."""
        pose = self.walk.pose_at(step - shown.ago + self.walk.phases[shown.camera])
        return pose @ FRONT_FROM_LEFT if shown.camera == CAMERAS[1] else pose

    def _anchor(self, step: int) -> AnchorPose | None:
        frame = self.frame(CAMERAS[0], step, Shown(CAMERAS[0]), np.random.default_rng(step))
        found = self._engine.localize(frame)
        return found if isinstance(found, AnchorPose) else None


class Odometry:
    """``odom_from_camera`` as the views of the leading camera move; lost for some frames where they leap."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._lost = rng, 0
        self._view: SE3 | None = None
        self.pose = SE3.identity()

    def track(self, view: SE3, *, is_turned: bool) -> bool:
        """Take the next view, and whether there is a pose."""
        if self._view is not None:
            step = self._view.inverse @ view
            metres, degrees = float(np.linalg.norm(step.translation)), rotation_angle_deg(step.rotation, np.eye(3))
            if metres > 0.25 or degrees > 20.0:
                self._lost = int(self._rng.integers(0, 8))
            sigmas = np.repeat([1e-3 + 0.01 * metres, 3e-4 + 0.01 * np.radians(degrees)], 3)
            self.pose = perturbed(self.pose @ step, self._rng.normal(0.0, sigmas))
        self._view, is_lost, self._lost = view, self._lost > 0, max(0, self._lost - 1)
        return not is_lost and not is_turned


def main() -> None:
    """Run the cases, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/camera_faults"), help="folder for images")
    parser.add_argument("--cases", type=int, default=60, help="number of cases of each fault")
    parser.add_argument("--faults", default=",".join(KINDS), help="names of faults, separated by commas")
    add_outputs(parser)
    arguments: argparse.Namespace = parser.parse_args()
    world, rows = World(arguments.work), []
    for fault in arguments.faults.split(","):
        cases = [run(world, fault, seed) for seed in range(arguments.cases)]
        sigmas = [one for _, found in cases for one in found]
        wrong = [sum(one > SIGMAS for one in found) for _, found in cases]
        rows.append(
            {
                "fault": fault,
                "cases": len(cases),
                "frames": sum(frames for frames, _ in cases),
                "poses": len(sigmas),
                "wrong": sum(wrong),
                "in_cases": sum(count > 0 for count in wrong),
                "largest": max(sigmas, default=0.0),
            }
        )
        print(rows[-1], flush=True)
    name = "Cameras that go wrong, while few of their images are followed"
    write_outputs(arguments, name, {**provenance(), "rows": rows}, table(HEADER, [cells(row) for row in rows]))


def run(world: World, fault: str, seed: int) -> tuple[int, list[float]]:
    """How many frames of a case were followed, and the errors of their poses in standard deviations."""
    rng = np.random.default_rng(seed)
    skipped, looked_at, stalls, latest = (
        rng.choice(some) for some in ((0, 0.2, 0.5), (1, 0.5, 0.15), (0, 0.05, 0.1), (0, 1, 3))
    )
    start = int(rng.integers(1, len(world.walk.frames[CAMERAS[0]]) - CASE - 1))
    begin = start + int(rng.integers(25, 60))
    end, faulty = begin + int(rng.integers(10, 40)), CAMERAS[int(rng.random() < 0.3)]
    images, odometry, sigmas = Images(), Odometry(rng), list[float]()
    tracker = RigMapTracker(world.map, MapTrackingConfig(), images)
    odom_from_camera: dict[int, SE3] = {}
    map_from_odom: SE3 | None = None
    anchors: list[tuple[int, AnchorPose]] = []
    stall, newest, next_anchor, followed = 0, start - 1, start, 0

    def shown(camera: str, step: int) -> Shown:
        is_wrong = camera == faulty and begin <= step < end
        return (FAULTS[fault](camera, step - begin) if is_wrong else None) or Shown(camera)

    for step in range(start, start + CASE):
        if stall == 0 and rng.random() < stalls:
            stall = int(rng.integers(3, 9))
        stall = max(0, stall - 1)
        frame = world.frame(CAMERAS[0], step, shown(CAMERAS[0], step), rng)
        late = step - 1 - int(rng.integers(0, latest + 1))
        is_needed = tracker.needs(CAMERAS[1], frame.stamp_ns) or rng.random() < 0.3
        if stall == 0 and late > newest and is_needed and rng.random() < looked_at:
            newest, images.newest = late, world.frame(CAMERAS[1], late, shown(CAMERAS[1], late), rng)
        if step >= next_anchor:
            next_anchor = step + int(rng.integers(8, 20))
            found = None if begin <= step < end else world.anchor(step)
            anchors += [] if found is None else [(step + int(rng.integers(4, 16)), found)]
        if stall > 0 or rng.random() < skipped:
            tracker.keep_skipped(frame)
            continue
        followed += 1
        is_turned = faulty == CAMERAS[0] and begin <= step < end and fault in TURNED
        has_pose = odometry.track(world.view(step, shown(CAMERAS[0], step)), is_turned=is_turned)
        odom_from_camera[frame.stamp_ns] = odometry.pose
        for _, anchor in (one for one in anchors if one[0] <= step):
            tracker.restart(anchor)
            if map_from_odom is None and anchor.stamp_ns in odom_from_camera:
                map_from_odom = anchor.map_from_camera @ odom_from_camera[anchor.stamp_ns].inverse
        anchors = [one for one in anchors if one[0] > step]
        predicted = map_from_odom @ odometry.pose if map_from_odom is not None and has_pose else None
        if not tracker.must_track(frame.stamp_ns, predicted) and predicted is not None and rng.random() < 0.3:
            tracker.keep(frame, predicted)
            continue
        result = tracker.track(frame, predicted)
        if isinstance(result, TrackedPose):
            map_from_odom = result.map_from_camera @ odometry.pose.inverse
            sigmas.append(errors_in_sigmas(result.map_from_camera, result.covariance, world.walk.pose_at(step)))
    return followed, sigmas


def cells(row: Figures) -> list[str]:
    """A row of the table."""
    return [
        *(str(row[name]) for name in ("fault", "cases", "frames", "poses", "wrong", "in_cases")),
        f"{row['largest']:.1f}",
    ]


if __name__ == "__main__":
    main()
