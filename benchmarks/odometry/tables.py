"""Tables of the odometry benchmark, from the figures of its runs."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.odometry.stress import StressResult
from benchmarks.program import median
from benchmarks.results_file import Figures, table

UNKNOWN = "–"

PEERS = {
    "euroc_mh05": [("ORB-SLAM3", "4.3-4.5", "10"), ("stella_vslam", "3.3-3.6", "11")],
    "7scenes_redkitchen": [
        ("ORB-SLAM3", "4.3-4.4", "11"),
        ("stella_vslam", "4.3-4.7 in 5 of 8 runs, 5-37 in the others", "6"),
    ],
    "kitti_06": [("ORB-SLAM3", "7.5-9.3", "14")],
}
"""ATE in cm and ms a frame, measured on the same sequences on another machine."""

GOALS_CM = {"euroc_mh05": 5.0, "7scenes_redkitchen": 4.5, "kitti_06": 10.0}


def sequences_table(reports: dict[str, Figures]) -> str:
    """The live run of largest error of each sequence, and the repeatable one."""
    header = [
        "sequence", "run", "tracked", "start s", "losses", "ATE cm", "rotation °", "drift, % of the path",
        "95 % of the frames within ms", "frames/s", "MB",
    ]  # fmt: skip
    rows = []
    for name, report in reports.items():
        worst = max(report["live"], key=lambda run: np.inf if run["ate_sim3_m"] is None else run["ate_sim3_m"])
        rows += [run_row(name, f"live, worst of {len(report['live'])}", worst)]
        rows += [run_row(name, "repeatable", report["repeatable"])]
    return table(header, rows)


def run_row(sequence: str, name: str, run: Figures) -> list[str]:
    """One run; a dash where nothing could be measured."""
    return [
        sequence,
        name,
        f"{run['tracked_frames']} of {run['frames']}",
        number(run["start_s"]),
        str(run["loss_events"]),
        number(run["ate_sim3_m"], 100.0),
        number(run["aligned_orientation_error_deg"] and run["aligned_orientation_error_deg"]["rmse"]),
        number(run["rpe"]["over_path"]["translation_percent"]),
        number(run["latency_ms"]["p95"], digits=1),
        number(run["fps"], digits=0),
        number(run["peak_rss_mb"], digits=0),
    ]


def peers_table(reports: dict[str, Figures]) -> str:
    """What was measured here, a row a system, with the figures of the peers beside it."""
    header = ["sequence and system", "ATE cm, all runs", "median ms a frame", "source"]
    return table(header, [row for name, report in reports.items() for row in sequence_peers(name, report)])


def sequence_peers(name: str, report: Figures) -> Iterable[list[str]]:
    """Rows of one sequence: ``klt``, plain KLT measured beside it, and the peers."""
    klt_ms, plain_ms = (median([run["latency_ms"]["p50"] for run in report[key]]) for key in ("live", "plain"))
    goal = f"measured here, live; goal: {GOALS_CM[name]:g} cm"
    yield [f"**{name}: klt**", ates(report["live"]), f"{klt_ms:.1f}", goal]
    yield [f"{name}: plain Python KLT", ates(report["plain"]), f"{plain_ms:.1f}", "measured here, in turn"]
    for system, ate, milliseconds in PEERS[name]:
        yield [f"{name}: {system}", ate, milliseconds, "measured elsewhere"]


def still_words(name: str, runs: Sequence[Figures]) -> str:
    """Whether a standing camera was reported to move."""
    counts = Counter((f"{run['tracked_frames']} of {run['frames']}", invented(run)) for run in runs)
    found = (f"{motion} ({count} live runs, {tracked} frames tracked)" for (tracked, motion), count in counts.items())
    return f"Invented motion of {name}, in units of the median depth at first: {'; '.join(found)}."


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
    header = ["incident", "outcome", "tracked", "restart s", "ATE cm"]
    rows = [
        [
            result.name,
            result.verdict.value,
            f"{result.num_tracked} of {result.num_frames}",
            UNKNOWN if result.flagged_after is None else number(result.restart_s),
            number(result.ate_m, 100.0),
        ]
        for result in results
    ]
    most = max((result.flagged_after or 0 for result in results), default=0)
    words = f"Before a loss was reported, at most {most} poses in a row were off by more than 5 cm and 3 % of the path."
    return f"{table(header, rows)}\n\n{words}"


def ates(runs: Sequence[Figures]) -> str:
    """ATE of every run in cm; once where all are the same."""
    each = [number(run["ate_sim3_m"], 100.0) for run in runs]
    return ", ".join(each) if len(set(each)) > 1 else each[0]


def number(value: float | None, factor: float = 1.0, digits: int = 2) -> str:
    """A number, or a dash where it is unknown."""
    return UNKNOWN if value is None else f"{factor * value:.{digits}f}"
