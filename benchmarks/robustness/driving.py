"""Robots that drive by TF alone, through faults: do they collide, drive on a wrong pose, stop when LOST?

Run: python -m benchmarks.robustness.driving --markdown results/robustness.md

Four rooms of other paint are mapped by day, and five robots each drive round them in the evening, each through four
faults drawn by its seed. A robot follows its path by pure pursuit. It reads map -> base as Nav2's controller does, and
stops while the transform is older than 0.2 s. It drives on a wrong pose where its wheels turn although its estimated
pose is 20 cm or 15 degrees off for longer than 0.2 s.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.program import add_outputs, new_parser, run_visloc
from benchmarks.results_file import Figures, table, write_outputs
from benchmarks.robustness.closed_loop import (
    DRIVING,
    RADIUS_M,
    TF_TOLERANCE_S,
    Drive,
    Fault,
    FaultKind,
    Moment,
    stretches,
)
from testing.robustness import Incident
from testing.wheeled_robot import ellipse
from visloc_ros.core.map import open_map
from visloc_ros.core.types import State
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room

ROOM_SEEDS = (0, 501, 502, 503)
DRIVES = 20
CAMERA = SimulationConfig(rate_hz=15.0, duration_s=60.0)
MAPPED = SimulationConfig(rate_hz=2.0)
PATH = ellipse((2.95, 2.7), (1.55, 1.2))
FAULTS_AT = (10.0, 22.0, 34.0, 46.0)  # seconds, each up to 2 s later
LONGEST_S = {"dark": 4.0, "carried in the dark": 3.0, "carried at a blink": 0.0, "camera silent": 4.0}
LONGEST_OTHER_S = 8.0


def main() -> None:
    """Drive all, and write the results."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/driving"), help="folder for maps")
    parser.add_argument("--drives", type=int, default=DRIVES)
    parser.add_argument("--processes", type=int, default=2, help="drives at once")
    add_outputs(parser)
    arguments = parser.parse_args()
    for seed in ROOM_SEEDS:
        build(seed, arguments.work)
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        drives = list(pool.map(partial(drive, work=arguments.work), range(arguments.drives)))
    body = as_table(drives)
    report = {**provenance(), "drives": drives}
    write_outputs(arguments, "Robots that drive by TF", report, body)


def build(seed: int, work: Path) -> None:
    """Map a room by day at the true poses, where that is not done yet."""
    if not (work / "maps" / str(seed)).exists():
        images = work / "images" / str(seed)
        write_folder(simulate(MAPPED, "map", make_living_room(seed)), images)
        truth = next(images.glob("groundtruth*.txt"))
        run_visloc("build-map", images, "-o", work / "maps" / str(seed), f"--reference-poses={truth}")


def drive(seed: int, work: Path) -> Figures:
    """Figures of one drive."""
    room_seed = ROOM_SEEDS[seed % len(ROOM_SEEDS)]
    room = simulate(CAMERA, "localize", make_living_room(room_seed)).room
    engine = AnchorEngine(open_map(work / "maps" / str(room_seed)), AnchorConfig())
    faults = drawn_faults(seed)
    moments = list(Drive(CAMERA, room, engine, PATH, faults, seed).run())
    figures = measure(moments, faults) | {"seed": seed, "room": room_seed}
    print(figures, flush=True)
    return figures


def drawn_faults(seed: int) -> tuple[Fault, ...]:
    """Four faults of different kinds."""
    rng = np.random.default_rng(seed)
    kinds: list[FaultKind] = rng.permutation(get_args(FaultKind)).tolist()
    begins = rng.uniform(0.0, 2.0, len(FAULTS_AT)) + FAULTS_AT
    faults = []
    for kind, begin_s in zip(kinds, begins.tolist(), strict=False):
        lasts_s = rng.uniform(0.5, 1.0) * LONGEST_S.get(kind, LONGEST_OTHER_S)
        faults.append(Fault(kind, Incident(begin_s, begin_s + lasts_s)))
    return tuple(faults)


def measure(moments: list[Moment], faults: tuple[Fault, ...]) -> Figures:
    """Collisions, drives on a wrong pose, behaviour when LOST."""
    step_s = moments[1].seconds - moments[0].seconds
    wrong = [one.is_wrong and one.is_told_to_drive for one in moments]
    wrong_s = [len(run) * step_s for run in stretches(moments, wrong)]
    lost = list(stretches(moments, [one.state is State.LOST for one in moments]))
    localized = [one.error_m for one in moments if one.state is State.LOCALIZED and one.believed is not None]
    return {
        "faults": [one.kind for one in faults],
        "collided": any(one.clearance < RADIUS_M for one in moments),
        "least_clearance_m": min(one.clearance for one in moments) - RADIUS_M,
        "driven_m": sum(float(np.linalg.norm(b.true.translation - a.true.translation)) for a, b in pairwise(moments)
                        if b.speed > DRIVING),
        "drives_on_a_wrong_pose": sum(seconds > TF_TOLERANCE_S + step_s for seconds in wrong_s),
        "longest_on_a_wrong_pose_s": max(wrong_s, default=0.0),
        "times_lost": len(lost),
        "stopped_after_s": max((stopped_after(run) for run in lost), default=0.0),
        "deviation_p95_m": float(np.percentile([one.deviation for one in moments if one.is_told_to_drive], 95)),
        "standing_share": float(np.mean([not one.is_told_to_drive for one in moments])),
        "drives_again_after_s": {one.kind: again(moments, one.when.end_s) for one in faults},
        "error_p95_m": float(np.percentile(localized, 95)),
    }  # fmt: skip


def stopped_after(lost: list[Moment]) -> float:
    """Seconds from the first LOST until the wheels stop; to the end where they never do."""
    standing = [one.seconds for one in lost if one.speed < DRIVING]
    return (standing[0] if standing else lost[-1].seconds) - lost[0].seconds


def again(moments: list[Moment], end_s: float) -> float | None:
    """Seconds after a fault until the robot drives on by a right pose; None where it never does."""
    good = [one.seconds for one in moments if one.seconds >= end_s and one.is_told_to_drive and not one.is_wrong]
    return good[0] - end_s if good else None


def as_table(drives: list[Figures]) -> str:
    """Sums over all drives, and a row for each kind of fault."""

    def values(name: str) -> list[float]:
        return [one[name] for one in drives]

    rows = [
        ("drives, collisions", f"{len(drives)} of {sum(values('driven_m')):.0f} m in all, {sum(values('collided'))}"),
        ("least distance to an obstacle", f"{100 * min(values('least_clearance_m')):.0f} cm"),
        ("drives on a wrong pose", f"{sum(values('drives_on_a_wrong_pose'))}"),
        ("longest with a wrong pose and driven wheels", f"{max(values('longest_on_a_wrong_pose_s')):.2f} s"),
        ("times LOST", f"{sum(values('times_lost'))}"),
        ("from LOST until the wheels stand, at most", f"{max(values('stopped_after_s')):.2f} s"),
        ("off the path while driving, p95 of the worst drive", f"{100 * max(values('deviation_p95_m')):.0f} cm"),
        ("error while LOCALIZED, p95 of the worst drive", f"{100 * max(values('error_p95_m')):.1f} cm"),
    ]
    for kind in get_args(FaultKind):
        times = [one["drives_again_after_s"][kind] for one in drives if kind in one["faults"]]
        known = sorted(one for one in times if one is not None)
        if known:
            summary = f"{np.median(known):.1f} s, at most {known[-1]:.1f} s"
            rows.append((f"drives on after: {kind}", f"{summary} ({len(known)} of {len(times)})"))
    return table(("what", "figure"), rows)


if __name__ == "__main__":
    main()
