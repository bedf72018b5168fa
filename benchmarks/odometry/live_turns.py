"""The ``klt`` odometry on fast turns at the pace of a camera, beside the repeatable run over the same frames.

Run: OMP_NUM_THREADS=1 python -m benchmarks.odometry.live_turns --data ../shared/data --markdown results/odometry.md

Live, frames come at their stamps, slow work goes on beside them, and a frame is dropped where two newer ones wait.
Frames are decoded and rendered beforehand. The odometry knows a rolling shutter's readout time.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.odometry.fast_turns import HAND_HELD, READOUT_MS, SCENES, RunFigures, measured, track_all
from benchmarks.odometry.scenarios import ScenarioRenderer
from benchmarks.program import new_parser
from benchmarks.results_file import table, write_section
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.decoding import DecodedFrame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_run import AtStamps, run_odometry
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.odometry.klt import KltConfig
from visloc_ros.sources import SourceConfig, open_source

MOST_DROPPED, LEAST_POSES, LARGEST_RATIO = 0.01, 0.97, 1.2
"""Shares of the frames, and the ATE live over that of the repeatable run, that each sequence is to keep to."""
LIMITS = (
    f"Limits: {MOST_DROPPED:.0%} of the frames dropped, {LEAST_POSES:.0%} with a pose, one segment, and "
    f"{LARGEST_RATIO:g} times the ATE of the repeatable run."
)
HEADER = ("sequence", "frames dropped", "with a pose (repeatable)", "segments", "ATE cm", "repeatable")


class Played(NamedTuple):
    """Frames with their true poses; the odometry knows ``readout_ms``."""

    name: str
    frames: Sequence[Frame]
    truth: Trajectory
    readout_ms: float = 0.0


def main() -> None:
    """Play every sequence live and repeatably, and write the table."""
    arguments = parse_arguments()
    report = provenance()
    rows = []
    for one in sequences(arguments.data):
        repeatable = measured(track_all(one.frames, one.readout_ms), one.truth)
        rows.append(row_of(one.name, *play_live(one), repeatable))
        print(" | ".join(rows[-1]), flush=True)
    kept = [row[0] for row in rows if row[-1] == "yes"]
    others = table(HEADER, [row[:-1] for row in rows if row[-1] == "no"])
    body = f"{LIMITS}\n\nWithin them: {'; '.join(kept) or 'none'}. The others:\n\n{others}"
    write_section(arguments.markdown, "Fast turns at the pace of the camera", report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--markdown", type=Path, help="results file to write the table into")
    return parser.parse_args()


def sequences(data: Path) -> Iterator[Played]:
    """The hand-held sequence and the twelve scenes."""
    source = open_source(data / HAND_HELD, SourceConfig())
    if source.ground_truth is None:
        raise SystemExit(f"{source.name} has no true poses")
    yield Played(HAND_HELD, list(source), source.ground_truth)
    renderer = ScenarioRenderer()
    for scene in SCENES:
        readout_ms = READOUT_MS if "readout_ms" in scene.changes else 0.0
        truth = renderer.simulation(scene).ground_truth
        yield Played(scene.name, list(renderer.frames(scene)), truth, readout_ms)


def play_live(played: Played) -> tuple[RunFigures, int, int]:
    """Figures of a run at the pace of the stamps, the frames that there were, and those dropped."""
    feed = AtStamps(DecodedFrame(frame, 0.0) for frame in played.frames)
    options = OdometryConfig(backends={"klt": KltConfig(readout_ms=played.readout_ms)})
    run = run_odometry(lambda: make_odometry(options, live=True), feed)
    return measured(run.results, played.truth), len(played.frames), feed.dropped


def row_of(name: str, live: RunFigures, num_frames: int, dropped: int, repeatable: RunFigures) -> list[str]:
    """Of the table."""
    ratio = live.ate_m / repeatable.ate_m
    is_kept = dropped <= MOST_DROPPED * num_frames and live.num_poses >= LEAST_POSES * num_frames
    is_kept = is_kept and live.num_segments == 1 and ratio <= LARGEST_RATIO
    return [
        name,
        f"{dropped} of {num_frames}",
        f"{100.0 * live.num_poses / num_frames:.1f} % ({100.0 * repeatable.num_poses / num_frames:.1f} %)",
        str(live.num_segments),
        f"{100.0 * live.ate_m:.1f}",
        f"{100.0 * repeatable.ate_m:.1f}",
        "yes" if is_kept else "no",
    ]


if __name__ == "__main__":
    main()
