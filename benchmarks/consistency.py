"""Whether covariances keep what they promise: NEES of anchors, tracked and fused poses, place by place.

Run: python -m benchmarks.consistency --data ../shared/data --markdown results/consistency.md

Places are mapped at their true poses, and walked through in causal runs offline: the same poses each time. Images are
searched as often as a robot's are while their points are followed, every second. The simulated rooms' truth is exact,
and their walks are in another light than their maps; those of another camera have half as many pixels, and are rougher.
NEES, the squared error over the covariance, is 6 in the mean and 5.3 in the median where covariances are honest, and
more where they claim too much. Poses beyond 3 and 5 sigma lie outside of the regions of their covariances that hold as
many errors as so many standard deviations of one number. Of fused poses those count that are LOCALIZED.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.places import DEMO_MAP, PAINTED_SEED, Place, known_truth
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.integrity import PoseAccuracy
from visloc_ros.apps.offline_run import FrameRun, RunConfig, RunListener, make_backend, search_inline
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import ACCEPTED, Anchor, AnchorPose, Estimate, Rejection, State, TrackedPose, Verdict
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import POSE_DOF
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping.own_error import own_error_in_words
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.measurements import Measurements

SECTION = "Whether covariances are honest"
HEADER = (
    "place",
    "poses",
    "count",
    "error, cm / °",
    "one sigma, cm / °",
    "NEES, mean",
    "median",
    "> 3 sigma",
    "> 5 sigma",
)
BEYOND = {sigmas: chi_square_quantile(math.erf(sigmas / math.sqrt(2.0)), POSE_DOF) for sigmas in (3, 5)}
RUN = replace(RunConfig(causal=True), anchor_period_s=1.0, anchor_latency_s=0.32)
MAP_RATE_HZ = 2.0
FPS = 1.0  # of searches: a run's own period counts
SAME_NS = 2_000_000


@dataclass(frozen=True)
class Stated:
    """A pose ``map_from_camera`` at a stamp, and its covariance (6, 6)."""

    stamp_ns: int
    map_from_camera: SE3
    covariance: Array


@dataclass(frozen=True)
class Walk:
    """A walk through a mapped place, of which the frames are left out that are a multiple of ``mapped_every``."""

    name: str
    map: Map
    source: FrameSource
    mapped_every: int | None = None


class Poses(RunListener):
    """Keeps the anchors and the tracked poses of a run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Stated] = []
        self.followed: list[Stated] = []

    def on_anchor(self, anchor: Anchor, verdict: Verdict) -> None:
        """Keep an anchor, the first time that it is judged."""
        super().on_anchor(anchor, verdict)
        result = anchor.result
        if isinstance(result, AnchorPose) and result.stamp_ns not in {one.stamp_ns for one in self.found}:
            self.found.append(Stated(result.stamp_ns, result.map_from_camera, result.covariance))

    def on_tracked(self, result: TrackedPose | Rejection, verdict: Verdict) -> None:
        """Keep a tracked pose that was accepted."""
        super().on_tracked(result, verdict)
        if isinstance(result, TrackedPose) and verdict is ACCEPTED:
            self.followed.append(Stated(result.stamp_ns, result.map_from_camera, result.covariance))


def main() -> None:
    """Run all places, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real sequences; without it only simulated rooms")
    parser.add_argument("--work", type=Path, default=Path("out/consistency"), help="folder for maps and rendered walks")
    parser.add_argument("--only", nargs="*", help="names of the places to run")
    add_outputs(parser)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rows, figures, lines = [], [], []
    for walk in walks(arguments):
        lines.append(f"- {walk.name}: {own_error_in_words(walk.map.manifest)}.")
        for kind, poses in run(walk).items():
            if not poses:
                continue
            figures.append({"place": walk.name, "poses": kind, **summarize(poses, known_truth(walk.source))})
            rows.append(row_of(figures[-1]))
            print(rows[-1], flush=True)
    words = "What the maps state of themselves:"
    body = f"{EXPLANATION}\n\n{table(HEADER, rows)}\n\n{words}\n\n" + "\n".join(lines)
    write_outputs(arguments, SECTION, {**provenance(), "rows": figures}, body)


EXPLANATION = str(__doc__).partition("\n\n")[2].partition("\n\n")[2].strip()


def walks(arguments: argparse.Namespace) -> list[Walk]:
    """The places, mapped and rendered where they are missing."""
    work: Path = arguments.work
    found = []
    for name, config in ROOMS.items():
        if is_wanted(arguments, name):
            mapped = open_map(DEMO_MAP) if name == "demo map" else room_map(work, config.seed)
            found.append(Walk(name, mapped, open_source(room_walk(work, config))))
    for name, (folder, first, last, every) in REAL.items() if arguments.data is not None else ():
        if is_wanted(arguments, name):
            recording, frames = arguments.data / folder, SourceConfig(first=first, last=last, every=every)
            queries = SourceConfig(first=last + 1) if name == "redkitchen" else SourceConfig(last=last)
            between = None if name == "redkitchen" else every
            place = Place(folder, recording, frames, recording, queries, FPS)
            found.append(Walk(name, place.open_map(work / "maps"), open_source(recording, queries), between))
    return found


OTHER_CAMERA = SimulationConfig(width=480, height=360, focal_px=360.0, rate_hz=10.0, samples=1)
ROOMS = {
    "demo map": SimulationConfig(),
    "room": SimulationConfig(),
    "room, at night": SimulationConfig(light="night"),
    "room, another camera": OTHER_CAMERA,
    "painted": SimulationConfig(seed=PAINTED_SEED),
    "painted, another camera": replace(OTHER_CAMERA, seed=PAINTED_SEED),
}
REAL = {
    "redkitchen": ("7scenes_redkitchen", 0, 499, 10),
    "euroc_mh05": ("euroc_mh05", 0, -1, 10),
    "drive": ("kitti_00_small", 0, 199, 4),
}


def is_wanted(arguments: argparse.Namespace, name: str) -> bool:
    """Whether a place is to be run."""
    return arguments.only is None or name in arguments.only


def room_walk(work: Path, config: SimulationConfig) -> Path:
    """The recording of a walk through a room; rendered if missing."""
    return rendered(work / f"room_{config.seed}_{config.light}_{config.width}", config, "localize")


def room_map(work: Path, seed: int) -> Map:
    """The map of a room by day."""
    folder = rendered(work / f"room_{seed}_map", SimulationConfig(seed=seed, rate_hz=MAP_RATE_HZ), "map")
    return Place(folder.name, folder, SourceConfig(), folder, SourceConfig(), FPS).open_map(work / "maps")


def rendered(folder: Path, config: SimulationConfig, pass_name: str) -> Path:
    """A recording in a simulated room."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(simulate(config, pass_name), folder)
    return folder


def run(walk: Walk) -> dict[str, list[Stated]]:
    """Anchors, tracked poses, and fused poses while LOCALIZED."""
    place, poses = walk.map, Poses()
    engine = AnchorEngine(place, RUN.anchor, most_turns=1)
    searches = search_inline(engine, RUN)
    localizer = FrameRun(place, RUN, engine, make_backend(RUN, searches, poses), poses, Measurements())
    fused = []
    for index, frame in enumerate(walk.source):
        if walk.mapped_every is None or index % walk.mapped_every:
            fused += localized(localizer.add(frame))
    localizer.close()
    return {"anchors": poses.found, "tracked": poses.followed, "fused": fused}


def localized(estimate: Estimate | None) -> list[Stated]:
    """The pose of an estimate that is LOCALIZED."""
    if estimate is None or estimate.state is not State.LOCALIZED:
        return []
    assert estimate.map_from_camera is not None
    assert estimate.covariance is not None
    return [Stated(estimate.stamp_ns, estimate.map_from_camera, estimate.covariance)]


def summarize(poses: Sequence[Stated], truth: Trajectory) -> Figures:
    """Medians of errors and standard deviations, and NEES."""
    known = [(one, truth.nearest(one.stamp_ns, SAME_NS)) for one in poses]
    every = [PoseAccuracy.of(one.map_from_camera, one.covariance, true) for one, true in known if true is not None]
    nees = np.array([one.nees for one in every])
    medians = {
        name: float(np.median([getattr(one, name) for one in every]))
        for name in ("error_m", "error_deg", "sigma_m", "sigma_deg")
    }
    beyond = {f"beyond_{sigmas}_sigma": float(np.mean(nees > limit)) for sigmas, limit in BEYOND.items()}
    return {"count": len(every), **medians, "nees": float(nees.mean()), "median": float(np.median(nees)), **beyond}


def row_of(one: Figures) -> list[str]:
    """A line of the table."""
    lengths = [f"{100 * one[f'{name}_m']:.2f} / {one[f'{name}_deg']:.2f}" for name in ("error", "sigma")]
    beyond = [f"{100 * one[f'beyond_{sigmas}_sigma']:.1f} %" for sigmas in BEYOND]
    return [
        one["place"],
        one["poses"],
        str(one["count"]),
        *lengths,
        f"{one['nees']:.1f}",
        f"{one['median']:.1f}",
        *beyond,
    ]


if __name__ == "__main__":
    main()
