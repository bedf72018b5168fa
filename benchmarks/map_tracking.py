"""Map tracking alone: one anchor, then five seconds in which only its map points are tracked.

Run: python -m benchmarks.map_tracking --data ../shared/data --markdown results/map_tracking.md

Anchors come from the real engine, without prediction; each joins 0.3 s after its image. Errors are against the truth,
without alignment, beside those of the anchors of the same frames. Times are processor times of one thread.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.places import FeatureCache, Place, known_truth, real_places, true_pose
from benchmarks.program import add_folders, new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.core.geometry import SE3, rotation_angle_deg, umeyama
from visloc_ros.core.map import Map
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose, Frame, OdometryPose, TrackedPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.map_tracking import MapTracker
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import SourceConfig, open_source

SECTION = "Map tracking alone"
SPAN_S, LATENCY_S = 5.0, 0.3
ANCHOR_EVERY = 10  # frames, so that none of them is a mapped one
MODES = {"prediction of the odometry": True, "nothing but images": False}


@dataclass(frozen=True)
class Sequence:
    """Frames with their true poses, the anchors of every tenth one, and the odometry of all."""

    place: Map
    frames: list[Frame]
    truth: list[SE3]
    anchors: dict[int, AnchorPose]
    odometry: dict[int, OdometryPose]
    rate_hz: float

    def predict(self, anchor: int, index: int) -> SE3 | None:
        """``map_from_camera`` of a frame: an anchor moved on by the odometry, scaled by all anchors."""
        first, now = self.odometry.get(anchor), self.odometry.get(index)
        if first is None or now is None or first.segment != now.segment:
            return None
        moved = first.odom_from_camera.inverse @ now.odom_from_camera
        scaled = SE3(moved.rotation, self.scale(now.segment) * moved.translation)
        return self.anchors[anchor].map_from_camera @ scaled

    def scale(self, segment: int) -> float:
        """Map units in one unit of the odometry."""
        rows = [row for row in self.anchors if row in self.odometry and self.odometry[row].segment == segment]
        found = [self.anchors[row].map_from_camera.translation for row in rows]
        return umeyama(found, [self.odometry[row].odom_from_camera.translation for row in rows]).scale


@dataclass(frozen=True)
class Tracked:
    """One frame: seconds since the anchor's image, processor time, and errors; NaN where there is no pose."""

    age_s: float
    milliseconds: float
    position_m: float = np.nan
    rotation_deg: float = np.nan
    nees: float = np.nan
    anchor_position_m: float = np.nan


def main() -> None:
    """Measure both places, and write the tables."""
    arguments = parse_arguments()
    cv2.setNumThreads(1)
    rows: list[list[str]] = []
    for place in real_places(arguments.data):
        sequence = load(place, arguments.work)
        rows += [[place.name, *row_of(words, run(sequence, predict))] for words, predict in MODES.items()]
        print(rows[-1], flush=True)
    write_section(arguments.markdown, SECTION, provenance(), f"{EXPLANATION}\n\n{table(('place', *HEADER), rows)}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/map_tracking", "maps and features")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    return parser.parse_args()


def load(place: Place, work: Path) -> Sequence:
    """Frames, anchors and odometry of a place; features are kept in the folder ``work``."""
    sequence = anchored(place, place.open_map(work / "maps"), work)
    odometry = make_odometry(OdometryConfig())
    for row, frame in enumerate(sequence.frames):
        result = odometry.track(frame)
        if isinstance(result, OdometryPose):
            sequence.odometry[row] = result
    odometry.close()
    return sequence


def anchored(place: Place, map_: Map, work: Path) -> Sequence:
    """Frames of a place and their anchors in a map of it, without odometry."""
    first = place.queries.first if place.map_folder == place.query_folder and place.mapped.last else 0
    source = open_source(place.query_folder, SourceConfig(first=first))
    frames = list(source)
    trajectory = known_truth(source)
    truth = [true_pose(trajectory, frame.stamp_ns) for frame in frames]
    engine = AnchorEngine(map_)
    features = FeatureCache(work / "features", engine)
    results = {
        row: engine.localize(frames[row], features=features(f"{place.name}/{row}", frames[row]))
        for row in range(0, len(frames), ANCHOR_EVERY)
    }
    anchors = {row: result for row, result in results.items() if isinstance(result, AnchorPose)}
    seconds = (frames[-1].stamp_ns - frames[0].stamp_ns) / 1e9
    return Sequence(map_, frames, truth, anchors, {}, (len(frames) - 1) / seconds)


def run(sequence: Sequence, predict: bool) -> list[list[Tracked]]:
    """Follow every anchor that has five seconds before it."""
    span = round(SPAN_S * sequence.rate_hz)
    starts = [row for row in sequence.anchors if row + span < len(sequence.frames)]
    return [follow(sequence, start, start + span, predict) for start in starts]


def follow(sequence: Sequence, start: int, end: int, predict: bool) -> list[Tracked]:
    """Track the frames from an anchor's on; those before it joins are not counted."""
    tracker, counted = MapTracker(sequence.place), []
    joins = start + round(LATENCY_S * sequence.rate_hz)
    for row in range(start, end + 1):
        frame = sequence.frames[row]
        predicted = sequence.predict(start, row) if predict else None
        begin_s = time.thread_time()
        result = tracker.track(frame, predicted)
        if row == joins:
            tracker.restart(sequence.anchors[start])
        milliseconds = 1e3 * (time.thread_time() - begin_s)
        if row >= joins:  # the frame with which an anchor joins pays for that, but has no pose to expect yet
            counted.append(judge(sequence, start, row, result, milliseconds))
    return counted


def judge(sequence: Sequence, start: int, row: int, result: object, milliseconds: float) -> Tracked:
    """Errors of a frame, and of its own anchor where it has one."""
    age_s = (sequence.frames[row].stamp_ns - sequence.frames[start].stamp_ns) / 1e9
    if not isinstance(result, TrackedPose):
        return Tracked(age_s, milliseconds)
    truth, anchor = sequence.truth[row], sequence.anchors.get(row)
    found = result.map_from_camera
    error = pose_difference(found, truth)
    return Tracked(
        age_s,
        milliseconds,
        float(np.linalg.norm(error[:3])),
        rotation_angle_deg(found.rotation, truth.rotation),
        float(error @ np.linalg.solve(result.covariance, error)),
        float(np.linalg.norm(anchor.map_from_camera.translation - truth.translation)) if anchor else np.nan,
    )


HEADER = (
    "tracked with",
    "starts",
    "frames with a pose",
    "error, cm / °",
    "after 4-5 s, cm",
    "anchors of these frames, cm",
    "NEES",
    "ms a frame, 95 % within",
)

EXPLANATION = (
    "Medians over all frames of all starts, one every ten frames. NEES is that of the whole covariance; 5.3 is exact."
)


def row_of(words: str, starts: list[list[Tracked]]) -> list[str]:
    """The cells of one way to track."""
    frames = [frame for start in starts for frame in start[1:]]
    late = [frame for frame in frames if frame.age_s > SPAN_S - 1.0]
    milliseconds = [frame.milliseconds for start in starts for frame in start]
    tracked, anchors = 100 * values(late, "position_m"), 100 * values(late, "anchor_position_m")
    return [
        words,
        str(len(starts)),
        f"{100 * np.mean([np.isfinite(frame.position_m) for frame in frames]):.1f} %",
        f"{100 * np.median(values(frames, 'position_m')):.2f} / {np.median(values(frames, 'rotation_deg')):.2f}",
        f"{np.median(tracked):.2f}",
        f"{np.median(anchors):.2f}",
        f"{np.median(values(frames, 'nees')):.1f}",
        f"{np.percentile(milliseconds, 95):.1f}",
    ]


def values(frames: list[Tracked], name: str) -> np.ndarray:
    """All values of a quantity that are known."""
    found = np.array([getattr(frame, name) for frame in frames])
    return np.asarray(found[np.isfinite(found)])


if __name__ == "__main__":
    main()
