"""Tables of the odometry benchmark, made of the figures that its runs wrote."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.odometry.stress import StressResult
from benchmarks.program import median
from benchmarks.results_file import Figures, table

UNKNOWN = "–"

PEERS = {
    "euroc_mh05": [
        ("ORB-SLAM3", "4.3-4.5", "10", "starts at frame 8"),
        ("stella_vslam", "3.3-3.6", "11", "starts at frame 52-70"),
        ("plain Python KLT", "152-176", UNKNOWN, ""),
    ],
    "7scenes_redkitchen": [
        ("ORB-SLAM3", "4.3-4.4", "11", ""),
        ("stella_vslam", "4.3-4.7 in 5 of 8 runs, 5-37 in the others", "6", ""),
        ("plain Python KLT", "50-56", UNKNOWN, ""),
    ],
    "kitti_06": [("ORB-SLAM3", "7.5-9.3", "14", "")],
}
"""ATE in cm, ms a frame and remarks, measured on the same sequences on another machine."""

REFERENCE_MS = {"init": 123.0, "first 2 frames": 650.0, "preprocess": 1.6, "inference": 31.8, "finalize": 198.0}
"""DPVO with its weights on an A100, as its authors state it."""

DPVO_SECTION = "dpvo without its weights: time only"
DPVO_NOTE = (
    "The official weights were not at hand: the network's numbers are random, and so are its paths, left out here.\n"
    "Every frame has all measurements that the preset allows."
)
STRESS_NOTE = (
    "A pose is wrong where it is off by more than 5 cm and more than 3 % of its segment's path, after the alignment\n"
    'of the poses before the incident. "Wrong before reported" counts the wrong poses in a row before a frame without\n'
    "a pose: 0 says that the loss was reported while the poses were still right. An incident whose poses\n"
    'stay right for a while is therefore not counted from its begin. More than 3 wrong poses in a row are "wrong".'
)
GOALS_CM = {"euroc_mh05": 5.0, "7scenes_redkitchen": 4.5, "kitti_06": 10.0}


def sequence_tables(reports: dict[str, Figures]) -> str:
    """A table a sequence, a row a run."""
    return "\n\n".join(f"### {name}\n\n{run_table(report)}" for name, report in reports.items())


def run_table(report: Figures) -> str:
    """Every live run and the repeatable one."""
    header = [
        "run", "tracked", "start s", "after motion s", "losses", "ATE cm", "rotation °", "1 s: cm", "1 s: °",
        "path %", "°/m", "p50 ms", "p95 ms", "frames/s", "MB",
    ]  # fmt: skip
    runs = {f"live {number + 1}": run for number, run in enumerate(report["live"])}
    rows = {**runs, "repeatable": report["repeatable"]}
    return table(header, [run_row(name, run) for name, run in rows.items()])


def run_row(name: str, run: Figures) -> list[str]:
    """One run; a dash where nothing could be measured."""
    second, path = run["rpe"]["over_1_s"], run["rpe"]["over_path"]
    return [
        name,
        f"{run['tracked_frames']} of {run['frames']}",
        number(run["start_s"]),
        number(run["start_after_motion_s"]),
        str(run["loss_events"]),
        number(run["ate_sim3_m"], 100.0),
        number(run["aligned_orientation_error_deg"] and run["aligned_orientation_error_deg"]["rmse"]),
        number(second["translation_m"] and second["translation_m"]["rmse"], 100.0),
        number(second["rotation_deg"] and second["rotation_deg"]["rmse"]),
        number(path["translation_percent"]),
        number(path["rotation_deg_per_m"], digits=3),
        number(run["latency_ms"]["p50"], digits=1),
        number(run["latency_ms"]["p95"], digits=1),
        number(run["fps"], digits=0),
        number(run["peak_rss_mb"], digits=0),
    ]


def peers_table(reports: dict[str, Figures]) -> str:
    """What was measured here, a row a system, with the figures of the peers beside it."""
    header = ["sequence and system", "ATE cm, all runs", "ms a frame, p50", "source", "remarks"]
    return table(header, [row for name, report in reports.items() for row in sequence_peers(name, report)])


def sequence_peers(name: str, report: Figures) -> Iterable[list[str]]:
    """Rows of one sequence: ``klt``, plain KLT measured beside it, and the peers."""
    klt_ms, plain_ms = (median([run["latency_ms"]["p50"] for run in report[key]]) for key in ("live", "plain"))
    start = spread([run["start_s"] for run in report["live"]])
    goal = f"goal: {GOALS_CM[name]:g} cm; starts after {start} s"
    yield [f"**{name}: klt**", ates(report["live"]), f"{klt_ms:.1f}", "measured here, live", goal]
    ratio = f"klt takes {klt_ms / plain_ms:.2f} times as long"
    yield [f"{name}: plain Python KLT", ates(report["plain"]), f"{plain_ms:.1f}", "measured here, in turn", ratio]
    for system, ate, milliseconds, remark in PEERS[name]:
        yield [f"{name}: {system}", ate, milliseconds, "measured elsewhere", remark]


def still_table(name: str, runs: Sequence[Figures]) -> str:
    """Whether a camera that stands still was said to move."""
    header = ["run", "tracked", "invented motion", "frames without a pose"]
    rows = [
        [
            f"{name}, live {index + 1}",
            f"{run['tracked_frames']} of {run['frames']}",
            invented(run),
            reasons(run["losses"]),
        ]
        for index, run in enumerate(runs)
    ]
    return f"{table(header, rows)}\n\nOne unit of the odometry is the median depth that the segment began with."


def invented(run: Figures) -> str:
    """Distance between the farthest positions of the longest segment, over its time."""
    if run["tracked_frames"] == 0:
        return "none: not started"
    rows = np.loadtxt(run["path"], ndmin=2)
    extent = float(np.linalg.norm(np.ptp(rows[:, 1:4], axis=0)))
    seconds = rows[-1, 0] - rows[0, 0]
    return f"{1e3 * extent / seconds:.2f} thousandths of a unit a second" if seconds > 0.0 else UNKNOWN


def stress_table(results: Sequence[StressResult]) -> str:
    """A row a scenario."""
    header = [
        "incident", "outcome", "tracked", "segments", "frames without a pose", "start s",
        "wrong before reported, frames", "restart s", "ATE cm", "worst turn °", "drift mm/s",
    ]  # fmt: skip
    rows = [
        [
            result.name,
            result.verdict.value,
            f"{result.num_tracked} of {result.num_frames}",
            str(result.num_segments),
            reasons(result.losses),
            number(result.start_s),
            UNKNOWN if result.flagged_after is None else str(result.flagged_after),
            UNKNOWN if result.flagged_after is None else number(result.restart_s),
            number(result.ate_m, 100.0),
            number(result.turn_error_deg),
            number(result.drift_mm_s, digits=1),
        ]
        for result in results
    ]
    return f"{table(header, rows)}\n\n{STRESS_NOTE}"


def memory_table(curves: Sequence[Figures]) -> str:
    """Memory beyond the kept frames after shares of the way."""
    shares = (0.05, 0.25, 0.5, 0.75, 1.0)
    header = [
        "source",
        "frames",
        *(f"MB at {100 * share:g} %" for share in shares),
        "MB per 1000 frames",
        "lost frames",
    ]
    rows = [
        [
            curve["source"],
            str(curve["frames"]),
            *(f"{curve['mb'][max(0, round(share * len(curve['mb'])) - 1)]:.0f}" for share in shares),
            UNKNOWN if curve["mb_per_1000"] is None else f"{curve['mb_per_1000']:+.2f}",
            f"{reasons(curve['losses'])}; {curve['segments']} segments",
        ]
        for curve in curves
    ]
    return f"{table(header, rows)}\n\nThe slope is that of the second half."


def dpvo_tables(reports: dict[str, Figures]) -> str:
    """Time alone: once, a frame, and by stage."""
    parts = [
        f"### {preset}\n\n{lifecycle_table(report)}\n\n{stage_table(report)}" for preset, report in reports.items()
    ]
    return "\n\n".join([DPVO_NOTE, *parts])


def bench_table(report: Figures) -> str:
    """``benchmarks.odometry.one_source``: what happens once and every frame, then the stages of the backend."""
    title = f"{report['backend']}{', live' if report['live'] else ''}, {report['frames']} frames of {report['source']}"
    return f"{title} at most {report['asked_fps']:g} a second\n\n{lifecycle_table(report)}\n\n{stage_table(report)}"


def lifecycle_table(report: Figures) -> str:
    """What happens once and for every frame, beside what the reference states of its odometry on an A100."""
    once = {"init": report["init_ms"], "first 2 frames": sum(report["warm_up_ms"]), "finalize": report["finalize_ms"]}
    each = {name: report[f"{name}_ms"] for name in ("decode", "preprocess", "inference", "settle", "total")}
    rows = [[f"{name}, once", number(value, digits=1), "", reference(name)] for name, value in once.items()]
    rows += [
        [f"{name}, a frame", *(number(spread[share], digits=1) for share in ("p50", "p95")), reference(name)]
        for name, spread in each.items()
    ]
    memory = f"peak memory {report['peak_rss_mb']:.0f} MB"
    memory += f", {report['gpu_mb']:.0f} MB of the GPU" if report.get("gpu_mb") else ""
    tracked = f"{report['tracked_frames']} of {report['frames']} tracked"
    return f"{table(['part', 'p50 ms', 'p95 ms', 'reference ms'], rows)}\n\n{tracked}; {memory}"


def reference(part: str) -> str:
    """What the reference states, or a dash."""
    return f"{REFERENCE_MS[part]:g}" if part in REFERENCE_MS else UNKNOWN


def stage_table(report: Figures) -> str:
    """Every stage of a backend."""
    rows = [
        [stage, *(f"{figures[key]:.1f}" for key in ("p50", "p95", "mean")), str(figures["frames"])]
        for stage, figures in report["stage_ms"].items()
    ]
    return table(["stage", "p50 ms", "p95 ms", "mean of all frames ms", "frames"], rows)


def ates(runs: Sequence[Figures]) -> str:
    """ATE of every run in cm."""
    return ", ".join(number(run["ate_sim3_m"], 100.0) for run in runs)


def spread(values: Sequence[float | None]) -> str:
    """Smallest and largest of the known values."""
    known = [value for value in values if value is not None]
    if not known:
        return UNKNOWN
    low, high = min(known), max(known)
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f}-{high:.2f}"


def reasons(counts: Mapping[str, int]) -> str:
    """Counts by reason in words."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "none"


def number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    """A number, or a dash where it is unknown."""
    return UNKNOWN if value is None else f"{factor * value:.{digits}f}"
