"""The ``klt`` odometry on the real sequences, run after run, beside a plain KLT and the peers' figures.

Run: python -m benchmarks.odometry.sequences --data ../shared/data --stress --markdown results/odometry.md
Parts alone: --sequences without a name leaves the sequences out, --sequences kitti_06 takes that one.
Every run is its own process, ``visloc track --live``, for its memory; one more is repeatable.
"""

import argparse
from pathlib import Path

from benchmarks.odometry.stress import run_stress
from benchmarks.odometry.tables import (
    peers_table,
    sequences_table,
    still_words,
    stress_table,
)
from benchmarks.program import new_parser, run_module, visloc_figures
from benchmarks.results_file import Figures, read_json, write_section
from visloc_ros.evaluation.machine import provenance
from visloc_ros.odometry import OdometryConfig, make_odometry

MOVING = {"euroc_mh05": 399, "7scenes_redkitchen": 749, "kitti_06": 50}
"""Sequences and their last frames."""
STILL = "euroc_v101_still"


def main() -> None:
    """Measure the chosen parts, and write a section of the results for each."""
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    moving = [name for name in arguments.sequences if name in MOVING]
    if moving:
        report_sequences(arguments, {name: measure_sequence(name, arguments) for name in moving})
    if STILL in arguments.sequences:
        runs = [track(STILL, number, arguments) for number in range(arguments.runs)]
        put(arguments, "Standing still", still_words(STILL, runs))
    if arguments.stress:
        results = run_stress(lambda: make_odometry(OdometryConfig()))
        put(arguments, "Stress", stress_table(results))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    names = [*MOVING, STILL]
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--runs", type=int, default=5, help="live runs of each sequence")
    parser.add_argument("--sequences", nargs="*", default=names, choices=names, help="sequences to run")
    parser.add_argument("--frames", type=int, default=0, help="frames of each sequence at most; 0 takes all")
    parser.add_argument("--stress", action="store_true", help="also run the simulated incidents")
    parser.add_argument("--work", type=Path, default=Path("out/odometry"), help="folder for figures and paths")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    return parser.parse_args()


def measure_sequence(name: str, arguments: argparse.Namespace) -> Figures:
    """Live runs and plain KLT in turn, so that both meet the same machine, and one repeatable run."""
    live, plain = [], []
    for number in range(arguments.runs):
        live.append(track(name, number, arguments))
        options = [arguments.data / name, f"--last={last_frame(name, arguments)}"]
        plain.append(program("plain_klt", arguments, f"{name}_plain{number}", *options))
    return {"live": live, "repeatable": track(name, None, arguments), "plain": plain}


def track(name: str, number: int | None, arguments: argparse.Namespace) -> Figures:
    """``visloc track`` on one sequence: live with a number, otherwise repeatable."""
    stem = arguments.work / f"{name}_{'repeatable' if number is None else f'live{number}'}"
    options = [f"--last={last_frame(name, arguments)}", "--output", f"{stem}.tum"]
    options += [] if number is None else ["--live"]
    visloc_figures(Path(f"{stem}.json"), "track", arguments.data / name, *options)
    return read_json(Path(f"{stem}.json")) | {"path": f"{stem}.tum"}


def last_frame(name: str, arguments: argparse.Namespace) -> int:
    """Index of the last frame taken; -1 takes all."""
    last = MOVING.get(name, -1)
    return min(last, arguments.frames - 1) if arguments.frames and last >= 0 else last


def program(module: str, arguments: argparse.Namespace, name: str, *options: object) -> Figures:
    """Another program of this folder in a process of its own; gives the figures that it wrote."""
    path = Path(arguments.work) / f"{name}.json"
    run_module(f"benchmarks.odometry.{module}", *options, "--json", path)
    return read_json(path)


def put(arguments: argparse.Namespace, title: str, body: str) -> None:
    """Print a section, and write it where a results file is named."""
    write_section(arguments.markdown, title, provenance(), body)


def report_sequences(arguments: argparse.Namespace, reports: dict[str, Figures]) -> None:
    """Tables of the moving sequences."""
    put(arguments, "Real sequences", f"{sequences_table(reports)}\n\n{peers_table(reports)}")


if __name__ == "__main__":
    main()
