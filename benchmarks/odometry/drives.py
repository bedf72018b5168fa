"""Long drives: how far the ``klt`` odometry drifts, and whether its repeatable run is as good as its live ones.

Run: python -m benchmarks.odometry.drives --data ../shared/data --markdown results/odometry.md

A real drive of 730 m and three rendered ones through streets with corners; nothing of a street is in view after the
corner at its end. Live runs take as long as the drive. Rendered images are kept in the work folder.
"""

import argparse
from pathlib import Path

from benchmarks.odometry.streets import DRIVES, write_drive
from benchmarks.odometry.tables import number
from benchmarks.program import median, new_parser, visloc_figures
from benchmarks.results_file import Figures, read_json, table, write_section
from visloc_ros.evaluation.machine import provenance

REAL = "kitti_00_small"
LENGTHS_M = (10.0, 20.0, 50.0, 100.0, 200.0)
TITLE = "Long drives"
NOTE = (
    "ATE and drift as in the other tables; drift is the mean error of position over length, of all stretches of a\n"
    "length. A ratio below 1 says that the repeatable run is the better one."
)


def main() -> None:
    """Track every drive live and repeatably, print the tables, and write them where that is asked for."""
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    reports = {name: measure(name, folder, arguments) for name, folder in drives(arguments).items()}
    body = "\n\n".join([live_table(reports), drift_table(reports), NOTE])
    print(body)
    write_section(arguments.markdown, TITLE, provenance(), body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--runs", type=int, default=3, help="live runs of each drive")
    parser.add_argument("--work", type=Path, default=Path("out/odometry/drives"), help="folder for images and figures")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    return parser.parse_args()


def drives(arguments: argparse.Namespace) -> dict[str, Path]:
    """Folders of all drives by their names; each rendered one has a town of its own."""
    rendered = {
        name: write_drive(name, seed, arguments.work / name.replace(" ", "_")) for seed, name in enumerate(DRIVES)
    }
    return {REAL: arguments.data / REAL, **rendered}


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> Figures:
    """Live runs and a repeatable one."""
    live = [track(folder, arguments.work / f"{folder.name}_live{run}.json", "--live") for run in range(arguments.runs)]
    print(f"{name}: {len(live)} live runs done", flush=True)
    return {"live": live, "repeatable": track(folder, arguments.work / f"{folder.name}_repeatable.json")}


def track(folder: Path, figures: Path, *options: str) -> Figures:
    """``visloc track`` in a process of its own."""
    visloc_figures(figures, "track", folder, "--output", figures.with_suffix(".tum"), *options)
    return read_json(figures)


def live_table(reports: dict[str, Figures]) -> str:
    """A row a drive: live runs beside the repeatable one."""
    header = ["drive", "path m", "segments", "ATE m, live", "median", "repeatable", "ratio", "p50 ms, live"]
    rows = []
    for name, report in reports.items():
        live, repeatable = report["live"], report["repeatable"]
        middle = median(run["ate_sim3_m"] for run in live)
        rows.append(
            [
                name,
                f"{sum(segment['true_path_m'] for segment in repeatable['segments']):.0f}",
                str(max(len(run["segments"]) for run in [*live, repeatable])),
                ", ".join(number(run["ate_sim3_m"]) for run in live),
                number(middle),
                number(repeatable["ate_sim3_m"]),
                number(repeatable["ate_sim3_m"] / middle),
                number(median(run["latency_ms"]["p50"] for run in live), digits=1),
            ]
        )
    return table(header, rows)


def drift_table(reports: dict[str, Figures]) -> str:
    """A row a drive: drift over stretches, median of the live runs and of the repeatable one."""
    header = ["drift in %, live / repeatable, over", *(f"{length:g} m" for length in LENGTHS_M)]
    rows = []
    for name, report in reports.items():
        live, repeatable = [drifts(run) for run in report["live"]], drifts(report["repeatable"])
        cells = [
            f"{median(run[length] for run in live):.2f} / {repeatable[length]:.2f}" if length in repeatable else "–"
            for length in LENGTHS_M
        ]
        rows.append([name, *cells])
    return table(header, rows)


def drifts(run: Figures) -> dict[float, float]:
    """Drift in percent by the length of the stretches in metres."""
    return {row["length_m"]: row["translation_percent"] for row in run["rpe"]["over_path"]["by_length"]}


if __name__ == "__main__":
    main()
