"""Long runs in which most images are not followed, as on a computer that is far too busy: is a pose ever wrong?

Run: OMP_NUM_THREADS=1 python -m benchmarks.robustness.sparse_frames --markdown results/robustness.md

Offline, the same each time. The simulated camera goes through its room, back and forth, for an hour. The images that
are followed lie as far apart as were those of ``benchmarks.soak --busy 4`` on a slow computer ("busy"); or one gap in
fifty is of 2.5 s and more, up to half a minute, as while it builds a map, too ("very busy"). The poses of the others
are carried on. Anchors are searched each 2.1 s, and are 2 s late. A pose is wrong that is off by more than 10 cm and
four of its standard deviations. Images and anchors are computed once for all runs.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np

from benchmarks.listener import count_wrong
from benchmarks.places import DEMO_MAP
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.integrity import PoseAccuracy
from visloc_ros.apps.offline_run import RunConfig, RunListener, make_backend, search_inline
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, Frame, MapIdentity, Rejection, State
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.odometry import SensorPlayback, make_odometry
from visloc_ros.pipeline import Localizer
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS, EasedPath
from visloc_ros.sources.measurements import Measurements
from visloc_ros.sources.ros_images import encode_jpeg

SECTION = "Few images followed"
HEADER = ("computer", "run", "poses", "LOCALIZED", "error, median cm", "largest", "wrong", "of those LOCALIZED")
RUN = replace(RunConfig(causal=True), anchor_period_s=2.1, anchor_latency_s=2.0)
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.995, 1.0)
GAPS_S: Mapping[str, Sequence[float]] = {
    "busy": (0.05, 0.05, 0.2, 0.3, 0.45, 0.75, 1.0, 1.4, 2.2, 4.1),
    "very busy": (0.05, 0.05, 0.2, 0.3, 0.45, 0.75, 1.0, 2.5, 8.0, 35.0),
}
"""Seconds between images that are followed, by the share of shorter ones."""
JPEG_QUALITY = 95


class Tour:
    """The simulated camera's images, played forwards and backwards."""

    def __init__(self, config: SimulationConfig) -> None:
        self.rate_hz, self._count = config.rate_hz, config.num_frames
        path = EasedPath(PATHS["localize"], (self._count - 1) / config.rate_hz)
        self._sequence = simulate(config, "localize", path=path)
        self._jpegs = dict[int, bytes]()

    def index_at(self, step: int) -> int:
        """The image of a step."""
        within = step % (2 * (self._count - 1))
        return min(within, 2 * (self._count - 1) - within)

    def frame(self, step: int) -> Frame:
        """The frame of a step, named by the image that it shows."""
        index = self.index_at(step)
        if index not in self._jpegs:
            self._jpegs[index] = encode_jpeg(self._sequence.frame(index).image, JPEG_QUALITY)
        image = cv2.imdecode(np.frombuffer(self._jpegs[index], np.uint8), cv2.IMREAD_COLOR_RGB)
        first = self._sequence.frame(0)
        return replace(first, name=str(index), stamp_ns=self.stamp_at(step), image=np.asarray(image, np.uint8))

    def stamp_at(self, step: int) -> int:
        """The stamp of a step."""
        return round((1000.0 + step / self.rate_hz) * NANOSECONDS)

    def true_pose(self, step: int) -> SE3:
        """``map_from_camera`` at a step."""
        return self._sequence.ground_truth.poses[self.index_at(step)]


class OnceForEachImage:
    """The anchor engine, which searches each image once."""

    def __init__(self, engine: AnchorEngine) -> None:
        self._engine, self._found = engine, dict[str, AnchorPose | Rejection]()

    @property
    def map_identity(self) -> MapIdentity:
        """The map that it searches."""
        return self._engine.map_identity

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """``map_from_camera`` of a frame, whatever was expected."""
        del prior
        if frame.name not in self._found:
            self._found[frame.name] = self._engine.localize(frame)
        return replace(self._found[frame.name], stamp_ns=frame.stamp_ns)


@dataclass(frozen=True)
class Gaps:
    """Steps between images that are followed."""

    computer: str
    rate_hz: float
    rng: np.random.Generator

    def next(self) -> int:
        """Steps to the next one, at least one."""
        seconds = float(np.interp(self.rng.random(), SHARES, GAPS_S[self.computer]))
        return max(1, round(seconds * self.rate_hz))


def poses(tour: Tour, localizer: Localizer, gaps: Gaps, steps: int) -> Iterator[Figures]:
    """The error of each pose that a localizer gives."""
    step = 0
    while step < steps:
        following = step + gaps.next()
        yield from judged(localizer.process(tour.frame(step)), tour.true_pose(step))
        for skipped in range(step + 1, following):
            yield from judged(localizer.skip(tour.stamp_at(skipped)), tour.true_pose(skipped))
        step = following


def judged(estimate: Estimate | None, truth: SE3) -> Iterator[Figures]:
    """The error of an estimate with a pose."""
    if estimate is None or estimate.map_from_camera is None or estimate.covariance is None:
        return
    accuracy = PoseAccuracy.of(estimate.map_from_camera, estimate.covariance, truth)
    is_localized = estimate.state is State.LOCALIZED
    yield {"error_m": accuracy.error_m, "sigma_m": accuracy.sigma_m, "localized": is_localized}


def row_of(computer: str, seed: int, found: Sequence[Figures]) -> list[str]:
    """A row of the table."""
    sure = [one for one in found if one["localized"]]
    errors_cm = 100.0 * np.array([one["error_m"] for one in found])
    return [
        *(computer, str(seed), str(len(found)), str(len(sure))),
        *(f"{np.median(errors_cm):.1f}", f"{errors_cm.max():.0f}"),
        *(str(count_wrong(list(found))), str(count_wrong(sure))),
    ]


def main() -> None:
    """Play all runs, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of a run")
    parser.add_argument("--runs", type=int, default=2, help="runs on each computer")
    add_outputs(parser)
    arguments: argparse.Namespace = parser.parse_args()
    cv2.setNumThreads(1)
    tour, place = Tour(SimulationConfig()), open_map(DEMO_MAP)
    engine = OnceForEachImage(AnchorEngine(place, RUN.anchor, most_turns=1))
    rows, report = list[list[str]](), Figures({**provenance(), "runs": []})
    for computer, seed in product(GAPS_S, range(arguments.runs)):
        listener = RunListener()
        backend = make_backend(RUN, search_inline(engine, RUN), listener)
        odometry = SensorPlayback(make_odometry(RUN.odometry), Measurements())
        localizer = Localizer(odometry, backend, MapTracker(place, RUN.map_tracking), listener)
        gaps = Gaps(computer, tour.rate_hz, np.random.default_rng(seed))
        found = list(poses(tour, localizer, gaps, round(60.0 * arguments.minutes * tour.rate_hz)))
        odometry.close()
        backend.close()
        rows.append(row_of(computer, seed, found))
        report["runs"].append({"computer": computer, "seed": seed, "poses": len(found), "row": rows[-1]})
        print(*rows[-1], sep=" | ", flush=True)
    write_outputs(arguments, SECTION, report, table(HEADER, rows))


if __name__ == "__main__":
    main()
