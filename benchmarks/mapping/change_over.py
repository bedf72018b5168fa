"""A camera is followed while its map is updated and rolled back: the jumps and gaps of its pose.

Run: python -m benchmarks.mapping.change_over --data ../shared/data --markdown results/map_changeover.md

Each place has two versions of its map: the demo's, or that of a walk, and the same updated by another walk. A further
walk is followed frame by frame, searched twice a second with 0.3 s of latency, and changes to the other version every
two seconds. The same walk without changes is beside it. A step is what the fused pose moves from one frame to the next
beyond its odometry, in standard deviations of its own covariance in that direction.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.places import DEMO_MAP, known_truth, true_pose
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.redecorated import refurnish
from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.map_check import check_map
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Frame, MapIdentity, Rejection, State
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.mapping import build_map
from visloc_ros.mapping.update.updater import update_map
from visloc_ros.mapping.update.use import same_points
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.pipeline import Backend, Localizer
from visloc_ros.pipeline.anchors import InlineAnchors
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.room import Room
from visloc_ros.sources import FrameSource, SourceConfig, open_source

SECTION = "Changed over while a camera is followed"
LEARNED = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=2.0, duration_s=4.0, samples=1, light="day")
FOLLOWED = replace(LEARNED, width=320, height=240, focal_px=240.0, rate_hz=20.0, duration_s=8.0, seed=1)
PERIOD_S, LATENCY_S, CHANGE_S = 0.5, 0.3, 2.0
HEADER = (
    "place", "map", "changes", "frames without a pose", "longest gap", "largest step, position", "rotation",
    "within 1 s of a change, position", "rotation", "error, median",
)  # fmt: skip


class EngineInUse:
    """The engine of the version in use."""

    def __init__(self, engine: AnchorEngine) -> None:
        self.engine = engine

    @property
    def map_identity(self) -> MapIdentity:
        """The map that it searches."""
        return self.engine.map_identity

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Search a frame in this version."""
        return self.engine.localize(frame, prior)


def main() -> None:
    """Follow each place's walk, and write the tables."""
    arguments = parse_arguments()
    report = {place: measure(*walks, arguments.work / place) for place, walks in places(arguments).items()}
    write_outputs(arguments, SECTION, {**provenance(), "places": report}, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/change_over", "maps and walks")
    add_outputs(parser)
    return parser.parse_args()


def places(arguments: argparse.Namespace) -> dict[str, tuple[FrameSource, FrameSource]]:
    """Of each place the walks that are learned from and followed; the map before is made if it is missing."""
    room, kitchen = refurnish(make_living_room(0), 0.3, seed=9), arguments.data / "7scenes_redkitchen"
    if not (arguments.work / "room" / "old").exists():
        with unpacked(DEMO_MAP) as folder:
            shutil.copytree(folder, arguments.work / "room" / "old")
    if not (arguments.work / "redkitchen" / "old").exists():
        mapped = open_source(kitchen, SourceConfig(last=249, every=10))
        build_map(mapped, arguments.work / "redkitchen" / "old", reference_poses=known_truth(mapped))
    learned, followed = SourceConfig(first=100, last=349, every=10), SourceConfig(first=101, last=349, every=2)
    walks = arguments.work / "walks"
    return {
        "room": (write_walk(walks / "learned", LEARNED, room), write_walk(walks / "followed", FOLLOWED, room)),
        "redkitchen": (open_source(kitchen, learned), open_source(kitchen, followed)),
    }


def write_walk(folder: Path, camera: SimulationConfig, room: Room) -> FrameSource:
    """A walk through a room, rendered if missing."""
    if not folder.exists():
        write_folder(simulate(camera, "localize", room), folder)
    return open_source(folder)


def measure(learned: FrameSource, followed: FrameSource, work: Path) -> Figures:
    """What an update leaves of a map, how long another version takes to load, and the walk with and without changes."""
    old, new = work / "old", work / "new"
    if not new.exists():
        shutil.copytree(old, new)
        update_map(new, learned)
    engine = AnchorEngine(open_map(old), most_turns=1)
    begin_s = time.process_time()
    check_map(new)
    newer = AnchorEngine(open_map(new), engine.config, engine.extractor, engine.matcher, most_turns=1)
    figures: Figures = {"kept": kept(engine.map, newer.map), "loaded_s": time.process_time() - begin_s}
    runs = {"old": [engine], "in turns": [engine, newer]}
    figures["runs"] = {name: follow(followed, engines) for name, engines in runs.items()}
    print(figures, flush=True)
    return figures


def kept(old: Map, new: Map) -> Figures:
    """How far an update has moved the images that stay, and how many points stay exactly where they were."""
    before = {image.name: image.map_from_camera for image in old.images}
    pairs = [(before[image.name], image.map_from_camera) for image in new.images if image.name in before]
    return {
        "share_frame": old.identity.shares_frame(new.identity),
        "images": [len(old.images), len(pairs), len(new.images)],
        "largest_m": max(float(np.linalg.norm(a.translation - b.translation)) for a, b in pairs),
        "largest_deg": max(rotation_angle_deg(a.rotation, b.rotation) for a, b in pairs),
        "points": [len(old.points), int((same_points(new.points, old.points) >= 0).sum()), len(new.points)],
    }


def follow(frames: FrameSource, engines: Sequence[AnchorEngine]) -> Figures:
    """Follow a walk; the engines take turns."""
    in_use, tracker, odometry = EngineInUse(engines[0]), MapTracker(engines[0].map), make_odometry(OdometryConfig())
    backend = Backend(BackendConfig(), InlineAnchors(in_use, PERIOD_S, LATENCY_S))
    localizer = Localizer(odometry, backend, tracker)
    estimates, changes_ns, first_ns = [], list[int](), None
    for frame in frames:
        first_ns = first_ns or frame.stamp_ns
        due = int((frame.stamp_ns - first_ns) / NANOSECONDS / CHANGE_S)
        if len(engines) > 1 and due > len(changes_ns):
            changes_ns.append(frame.stamp_ns)
            in_use.engine = engines[len(changes_ns) % len(engines)]
            tracker.update(in_use.engine.map)
        estimate = localizer.process(frame)
        if estimate is not None:
            estimates.append(estimate)
    backend.close()
    odometry.close()
    return figures_of(estimates, changes_ns, frames)


def figures_of(estimates: Sequence[Estimate], changes_ns: Sequence[int], frames: FrameSource) -> Figures:
    """Gaps, steps and errors from the first pose on."""
    localized = [one for one in estimates if one.state is State.LOCALIZED]
    after = [one for one in estimates if one.stamp_ns >= localized[0].stamp_ns]
    stamps = np.array([one.stamp_ns for one in localized])
    steps = np.array([step(a, b) for a, b in pairwise(localized)])
    near = np.array([any(0 <= stamp - change < NANOSECONDS for change in changes_ns) for stamp in stamps[1:]], bool)
    truth = known_truth(frames)
    errors = [np.linalg.norm(one.map_from_camera.translation - true_pose(truth, one.stamp_ns).translation)  # type: ignore[union-attr]
              for one in localized]  # fmt: skip
    return {
        "changes": len(changes_ns),
        "without": len(after) - len(localized),
        "gap_s": float(np.diff(stamps).max() / NANOSECONDS),
        "steps": steps.max(axis=0).tolist(),
        "near": steps[near].max(axis=0).tolist() if near.any() else None,
        "median_m": float(np.median(errors)),
    }


def step(before: Estimate, now: Estimate) -> tuple[float, float]:
    """What a pose moved beyond its odometry, position and rotation, in its standard deviations in that direction."""
    assert before.map_from_odom is not None
    assert now.odom_from_camera is not None
    assert now.map_from_camera is not None
    assert now.covariance is not None
    moved = pose_difference(now.map_from_camera, before.map_from_odom @ now.odom_from_camera)
    return _sigmas(moved[:3], now.covariance[:3, :3]), _sigmas(moved[3:], now.covariance[3:, 3:])


def _sigmas(vector: np.ndarray, covariance: np.ndarray) -> float:
    length = np.linalg.norm(vector)
    return 0.0 if length < 1e-12 else float(length / np.sqrt(vector @ covariance @ vector / length**2))


def as_markdown(report: Figures) -> str:
    """What stays of each map, and a row for each run."""
    words = [_words(place, figures) for place, figures in report.items()]
    rows = [_row(place, name, run) for place, figures in report.items() for name, run in figures["runs"].items()]
    return "\n\n".join(["\n".join(words), table(HEADER, rows)])


def _words(place: str, figures: Figures) -> str:
    of_map = figures["kept"]
    (old, same, new), (points, stable, now) = of_map["images"], of_map["points"]
    return (
        f"- {place}: {same} of {old} images stay ({new} after the update), moved by {1e3 * of_map['largest_m']:.1g} mm "
        f"and {of_map['largest_deg']:.1g}° at most; {stable} of {points} points stay exactly where they were, of {now} "
        f"after it. Once checked, the other version is loaded in {figures['loaded_s']:.1f} s of processor time."
    )


def _row(place: str, name: str, run: Figures) -> list[str]:
    near = run["near"]
    return [
        place,
        name,
        str(run["changes"]),
        str(run["without"]),
        f"{run['gap_s']:.2f} s",
        *(f"{value:.2f} σ" for value in run["steps"]),
        *(("–", "–") if near is None else (f"{value:.2f} σ" for value in near)),
        f"{100 * run['median_m']:.2f} cm",
    ]


if __name__ == "__main__":
    main()
