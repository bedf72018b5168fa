"""The ``klt`` odometry on a camera that turns fast.

Run: python -m benchmarks.odometry.fast_turns --data ../shared/data --markdown results/odometry.md

Twelve walks through the simulated room on which the camera turns away and back, truth exact, then a real hand-held
sequence from several first frames: small differences at the start change each result.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.odometry.scenarios import Scenario, ScenarioRenderer, exposed
from benchmarks.odometry.stress import StressResult, run_stress
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.core.geometry import mean_rotation, rotation_angle_deg
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.evaluation.association import PosePairs, truth_at
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.trajectories import align_pairs, apply_alignment
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.odometry.klt import KltConfig
from visloc_ros.simulation.path import PATHS, Choreography, Span, Turn
from visloc_ros.sources import SourceConfig, open_source

Axis = Literal["vertical", "x", "optical"]

READOUT_MS = 25.0
_AWAY_S = 0.6  # with an onset and an end of 0.2 s: the camera turns by 0.4 s of its rate, and as far back


def there_and_back(rate_deg: float, turns: Mapping[float, Axis]) -> Choreography:
    """A walk on which the camera is turned away about an axis, and back again, from each of the times (s) on."""
    legs = [
        Turn(Span(start_s + later_s, _AWAY_S), sign * rate_deg, about)
        for start_s, about in turns.items()
        for later_s, sign in ((0.0, 1.0), (_AWAY_S, -1.0))
    ]
    return Choreography(PATHS["map"], turns=tuple(legs))


_ONCE: Mapping[float, Axis] = {3.0: "vertical"}
_SHAKEN: Mapping[float, Axis] = {3.0: "vertical", 4.2: "vertical", 5.4: "vertical"}
_ALL_AXES: Mapping[float, Axis] = {3.0: "vertical", 4.3: "x", 5.6: "optical"}
_AWAY, _LONG = Span(3.0, 2.0 * _AWAY_S), Span(3.0, 3.8)
_BLURRED, _ROLLING = {"exposure_ms": 25.0}, {"readout_ms": READOUT_MS}

SCENES = (
    Scenario("100 deg/s", there_and_back(100.0, _ONCE), _AWAY),
    Scenario("200 deg/s", there_and_back(200.0, _ONCE), _AWAY),
    Scenario("300 deg/s, all out of view", there_and_back(300.0, _ONCE), _AWAY),
    Scenario("up, 150 deg/s", there_and_back(150.0, {3.0: "x"}), _AWAY),
    Scenario("about the optical axis, 200 deg/s", there_and_back(200.0, {3.0: "optical"}), _AWAY),
    Scenario("about all axes, 120 deg/s", there_and_back(120.0, _ALL_AXES), _LONG),
    Scenario("shaking, 150 deg/s", there_and_back(150.0, _SHAKEN), _LONG),
    Scenario("200 deg/s, 15 ms of exposure", there_and_back(200.0, _ONCE), _AWAY, changes={"exposure_ms": 15.0}),
    Scenario("about all axes, 25 ms of exposure", there_and_back(120.0, _ALL_AXES), _LONG, changes=_BLURRED),
    Scenario(
        "100 deg/s, 25 ms of exposure, a quarter of the light",
        there_and_back(100.0, _ONCE),
        _AWAY,
        exposed(0.25),
        _BLURRED | {"noise_std": 6.0},
    ),
    Scenario("150 deg/s, rolling shutter", there_and_back(150.0, _ONCE), _AWAY, changes=_ROLLING),
    Scenario("about all axes, rolling shutter", there_and_back(120.0, _ALL_AXES), _LONG, changes=_ROLLING),
)
"""Walks of 8 s, on which the camera is turned for 1 to 4."""

HAND_HELD, HAND_HELD_READOUTS_MS = "tum_fr1_rpy_start", (0.0, 25.0, 30.0)
FIRST_FRAMES = (0, 2, 4)


@dataclass(frozen=True)
class RunFigures:
    """Figures of one run; errors are of its longest segment."""

    num_frames: int
    num_poses: int
    num_segments: int
    ate_m: float
    rotation_deg: float


def main() -> None:
    """Run the scenes and the sequences, and write the tables."""
    arguments = parse_arguments()
    report = provenance()
    scenes = scene_table(run_scenes())
    print(scenes)
    write_section(arguments.markdown, "Fast turns", report, f"{scenes}\n\n{hand_held_table(arguments.data)}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    return parser.parse_args()


def run_scenes() -> Iterable[tuple[StressResult, float]]:
    """Results of each scene with the readout time that odometry knew, in ms.

    Scenes with a rolling shutter are run twice: without and with the readout.
    """
    renderer = ScenarioRenderer()
    for scene in SCENES:
        for readout_ms in (0.0, READOUT_MS) if "readout_ms" in scene.changes else (0.0,):
            options = OdometryConfig(backends={"klt": KltConfig(readout_ms=readout_ms)})
            (result,) = run_stress(lambda chosen=options: make_odometry(chosen), renderer, [scene])  # type: ignore[misc]
            yield result, readout_ms


def scene_table(results: Iterable[tuple[StressResult, float]]) -> str:
    """A row a scene."""
    header = ["scene", "readout given", "ATE cm", "worst turn °"]
    rows = []
    for result, readout_ms in results:
        error = "–" if result.ate_m is None else f"{100 * result.ate_m:.1f}"
        turn = "–" if result.turn_error_deg is None else f"{result.turn_error_deg:.2f}"
        rows.append([result.name, f"{readout_ms:g} ms", error, turn])
    return table(header, rows)


def hand_held_table(data: Path) -> str:
    """The hand-held sequence with several readouts, each begun at several frames."""
    firsts = ", ".join(map(str, FIRST_FRAMES))
    header = [f"{HAND_HELD}, from frames {firsts}", "poses, fewest", "ATE cm, each", "rotation °, mean of each"]
    rows = []
    for readout_ms in HAND_HELD_READOUTS_MS:
        runs = [run_from(data / HAND_HELD, first, readout_ms) for first in FIRST_FRAMES]
        fewest = min(runs, key=lambda run: run.num_poses / run.num_frames)
        rows.append(
            [
                f"readout given: {readout_ms:g} ms",
                f"{fewest.num_poses} of {fewest.num_frames}",
                ", ".join(f"{100.0 * run.ate_m:.1f}" for run in runs),
                ", ".join(f"{run.rotation_deg:.2f}" for run in runs),
            ]
        )
    return table(header, rows)


def run_from(folder: Path, first: int, readout_ms: float) -> RunFigures:
    """One repeatable run over the frames of a real sequence from the first on."""
    source = open_source(folder, SourceConfig(first=first))
    truth = source.ground_truth
    if truth is None:
        raise SystemExit(f"{folder} has no true poses")
    return measured(track_all(source, readout_ms), truth)


def track_all(frames: Iterable[Frame], readout_ms: float = 0.0) -> list[OdometryPose | Rejection]:
    """Results of a repeatable run, one a frame."""
    odometry = make_odometry(OdometryConfig(backends={"klt": KltConfig(readout_ms=readout_ms)}))
    try:
        return [odometry.track(frame) for frame in frames]
    finally:
        odometry.close()


def measured(results: Sequence[OdometryPose | Rejection], truth: Trajectory) -> RunFigures:
    """Figures of a run by its results, one a frame, beside the true poses."""
    poses = [result for result in results if isinstance(result, OdometryPose)]
    segments = [list(group) for _, group in groupby(poses, key=lambda pose: pose.segment)]
    pairs = paired(max(segments, key=len), truth)
    aligned = apply_alignment(align_pairs(pairs, "sim3"), pairs)
    errors = np.linalg.norm(aligned.estimated_positions - aligned.true_positions, axis=1)
    turn = mean_rotation([t.rotation @ e.rotation.T for e, t in zip(pairs.estimates, pairs.truths, strict=True)])
    angles = [
        rotation_angle_deg(turn @ e.rotation, t.rotation) for e, t in zip(pairs.estimates, pairs.truths, strict=True)
    ]
    ate_m = float(np.sqrt(np.mean(np.square(errors))))
    return RunFigures(len(results), len(poses), len(segments), ate_m, float(np.mean(angles)))


def paired(poses: Sequence[OdometryPose], truth: Trajectory) -> PosePairs:
    """Poses of one segment beside the true ones of their stamps, where these are known."""
    both = [(pose, true) for pose in poses if (true := truth_at(truth, pose.stamp_ns)) is not None]
    stamps = np.array([pose.stamp_ns for pose, _ in both])
    return PosePairs(stamps, tuple(pose.odom_from_camera for pose, _ in both), tuple(true for _, true in both))


if __name__ == "__main__":
    main()
