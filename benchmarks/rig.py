"""Two cameras at right angles on one body against one of them alone, in the simulated room.

Run: python -m benchmarks.rig --markdown results/rigs.md

The map is that of the demo, by day; the walk is another one, in the evening. The body's frame is that of the camera
"front", so that both trajectories are of the same place. "left" looks 90 degrees to the left, 14 cm away. A covered
camera gives black images, an unplugged one none, for four seconds from the fourth on. A late camera's newest image is
100 ms older than that of the other one. Processor time is that of the run, decoding included, models and map loaded;
its ratio is to the single camera's in the same run of this program. NEES is 6 on average where the covariance is
honest, and above where it claims too much.
"""

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.apps.offline_run import RunConfig, run_offline
from visloc_ros.apps.rig_run import run_rig
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import Map
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.rig import Rig, RigCamera
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.evaluation import RunRecord, summarize
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.rig import RigEngine
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.path import PATHS, MountedPath, PosePath
from visloc_ros.sources import FrameSource, open_source
from visloc_ros.sources.rig_recording import RigRecording

MAP = Path(__file__).parents[1] / "maps" / "demo_room.tar.gz"
FRONT_FROM_LEFT = SE3(rotation_matrix([0.0, -np.pi / 2, 0.0]), np.array([-0.1, 0.0, -0.1]))
WITHOUT_S = (4.0, 8.0)
LATE_FRAMES = 2  # of 50 ms
WRONG_DEG = 3.0
HEADER = (
    "cameras", "localized", "after the first fix", "median error", "p95", "largest", "rotation", "NEES",
    "processor time", "ratio", "leads",
)  # fmt: skip
Alter = Callable[[float, Frame], Frame | None]


class AlteredSource:
    """A source whose frames are altered, or missing, by their time since the start."""

    def __init__(self, source: FrameSource, alter: Alter) -> None:
        self._source, self._alter = source, alter
        self.name, self.calibration, self.camera = source.name, source.calibration, source.camera
        self.calibrated, self.ground_truth = source.calibrated, source.ground_truth

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Frame]:
        begin_ns: int | None = None
        for frame in self._source:
            begin_ns = frame.stamp_ns if begin_ns is None else begin_ns
            altered = self._alter((frame.stamp_ns - begin_ns) / NANOSECONDS, frame)
            if altered is not None:
                yield altered


class LateRecording(RigRecording):
    """The frames of "left" arrive later than those of "front"."""

    def __iter__(self) -> Iterator[dict[str, Frame]]:
        waiting: deque[Frame] = deque()
        for frames in super().__iter__():
            arrived = dict(frames)
            if "left" in arrived:
                waiting.append(arrived.pop("left"))
            if len(waiting) > LATE_FRAMES:
                arrived["left"] = waiting.popleft()
            yield arrived


def black(seconds: float, frame: Frame) -> Frame:
    """The frame, or a black one while the camera is covered."""
    return replace(frame, image=np.zeros_like(frame.image)) if is_without(seconds) else frame


def unplugged(seconds: float, frame: Frame) -> Frame | None:
    """The frame, or none while the camera is unplugged."""
    return None if is_without(seconds) else frame


def is_without(seconds: float) -> bool:
    """Whether a camera is covered or unplugged at a time."""
    return WITHOUT_S[0] <= seconds < WITHOUT_S[1]


def main() -> None:
    """Run all cases, and write the tables."""
    parser = new_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the walk")
    parser.add_argument("--work", type=Path, default=Path("out/rig"), help="folder for images")
    add_outputs(parser)
    arguments = parser.parse_args()
    rows, words = measure(arguments)
    note = f"A walk of {arguments.seconds:g} s at 20 Hz. A camera that is mounted {WRONG_DEG:g} degrees otherwise:"
    body = f"{table(HEADER, [cells(row, rows[0]) for row in rows])}\n\n{note}\n\n    {words}"
    write_outputs(arguments, "Two cameras at right angles", {**provenance(), "rows": rows, "named": words}, body)


def measure(arguments: argparse.Namespace) -> tuple[list[Figures], str]:
    """Figures of each case, and what is reported of a camera that is mounted otherwise."""
    front, left = recorded(arguments.work, arguments.seconds)
    place, config = open_searchable_map(MAP), RunConfig()
    engine = AnchorEngine(place, config.anchor, most_turns=1)
    next(iter(front))
    engine.localize(next(iter(front)))  # what is loaded at the first search
    rig = Rig({"front": RigCamera(SE3.identity()), "left": RigCamera(FRONT_FROM_LEFT)})
    rows = [figures("front alone", *timed(lambda: run_offline(
        place, front, front.ground_truth, config, SilentProgress(), engine=engine
    )))]  # fmt: skip
    cases: dict[str, RigRecording] = {
        "both": RigRecording("both", rig, {"front": front, "left": left}),
        "front covered for 4 s": RigRecording("covered", rig, {"front": AlteredSource(front, black), "left": left}),
        "front unplugged for 4 s": RigRecording(
            "unplugged", rig, {"front": AlteredSource(front, unplugged), "left": left}
        ),
        "left late by 100 ms": LateRecording("late", rig, {"front": front, "left": left}),
    }
    for name, recording in cases.items():
        rows.append(figures(name, *timed(run_of(place, recording, config, RigEngine(engine, rig)))))
    causal = replace(config, causal=True)
    rows.append(figures("front alone, causal", *timed(lambda: run_offline(
        place, front, front.ground_truth, causal, SilentProgress(), engine=engine
    ))))  # fmt: skip
    for name in ("both", "front covered for 4 s", "front unplugged for 4 s"):
        run = run_of(place, cases[name], causal, RigEngine(engine, rig))
        rows.append(figures(f"{name}, causal", *timed(run)))
    turn = SE3(rotation_matrix([0.0, np.radians(WRONG_DEG), 0.0]), np.zeros(3))
    wrong = RigEngine(engine, rig.with_place("left", FRONT_FROM_LEFT @ turn))
    recording = RigRecording("wrong", wrong.rig, {"front": front, "left": left})
    rows.append(figures(f"left {WRONG_DEG:g} deg otherwise", *timed(run_of(place, recording, config, wrong))))
    return rows, "; ".join(str(one) for one in wrong.places.differences() if one.is_contradicted) or "not named"


def recorded(work: Path, seconds: float) -> tuple[FrameSource, FrameSource]:
    """The images of both cameras, rendered once."""
    config = SimulationConfig(duration_s=seconds, samples=1)
    paths: dict[str, PosePath] = {"front": PATHS["localize"], "left": MountedPath(PATHS["localize"], FRONT_FROM_LEFT)}
    for name, path in paths.items():
        if not (work / f"{seconds:g}" / name).exists():
            (work / f"{seconds:g}").mkdir(parents=True, exist_ok=True)
            write_folder(simulate(config, "localize", path=path), work / f"{seconds:g}" / name)
    return open_source(work / f"{seconds:g}" / "front"), open_source(work / f"{seconds:g}" / "left")


def run_of(place: Map, recording: RigRecording, config: RunConfig, engine: RigEngine) -> Callable[[], RunRecord]:
    """A run of a rig."""
    truth = recording.sources["front"].ground_truth
    return lambda: run_rig(place, recording, truth, config, SilentProgress(), engine)


def timed(run: Callable[[], RunRecord]) -> tuple[RunRecord, float]:
    """A record, and the processor seconds that it took."""
    begin_s = time.process_time()
    return run(), time.process_time() - begin_s


def figures(name: str, record: RunRecord, processor_s: float) -> Figures:
    """Figures of one run."""
    summary = summarize(record)
    print(name, f"{processor_s:.1f} s", summary["position_error_m"], summary["nees"], record.notes, flush=True)
    return {
        "name": name,
        "localized": summary["localized_frames"] / summary["frames"],
        "after_first_fix": summary["localized_share_after_first_fix"],
        "position_error_m": summary["position_error_m"],
        "rotation_error_deg": summary["rotation_error_deg"],
        "nees": summary["nees"],
        "processor_s": processor_s,
        "leads": [note for note in record.notes if "leads" in note],
    }


def cells(row: Figures, single: Figures) -> list[str]:
    """A line of the table."""
    position, processor_s = row["position_error_m"], row["processor_s"]
    return [
        row["name"],
        f"{100 * row['localized']:.1f} %",
        f"{100 * row['after_first_fix']:.1f} %",
        *(f"{1e3 * position[which]:.1f} mm" for which in ("median", "p95", "max")),
        f"{row['rotation_error_deg']['median']:.3f} deg",
        f"{row['nees']['mean']:.2f}",
        f"{processor_s:.1f} s",
        f"{processor_s / single['processor_s']:.2f}",
        ", ".join(note.replace(" leads from", "").replace(" on", "").replace("'", "") for note in row["leads"]),
    ]


if __name__ == "__main__":
    main()
