"""The ``klt`` odometry on the real sequences, run after run, beside a plain KLT and the peers' figures.

Run: .venv/bin/python benchmarks/odometry.py --data ../shared/data --stress --memory 20000 --dpvo 100 \
         --markdown results/odometry.md --plots results
Parts alone: --sequences without a name leaves the sequences out, --sequences kitti_06 takes that one.
Every run is a process of its own, ``visloc track --live``, so that its memory is its own; one more is repeatable.
Machines are noisy: compare within one section, and look at all runs.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from odometry_pictures import write_latencies, write_memory, write_paths
from odometry_tables import (
    bench_table,
    dpvo_tables,
    memory_table,
    peers_table,
    sequence_tables,
    still_table,
    stress_table,
)
from results_file import provenance, put_section

from visloc_ros.apps.odometry_options import provenance as here_and_now
from visloc_ros.evaluation.odometry_stress import run_stress
from visloc_ros.odometry import OdometryConfig, make_odometry

MOVING = {"euroc_mh05": 399, "7scenes_redkitchen": 749, "kitti_06": 50}
"""Sequences and their last frames."""
STILL = "euroc_v101_still"
BENCHMARKS = Path(__file__).parent


def main() -> None:
    """Measure what is asked for, and write a section of the results for each part."""
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    moving = [name for name in arguments.sequences if name in MOVING]
    if moving:
        report_sequences(arguments, {name: measure_sequence(name, arguments) for name in moving})
    if STILL in arguments.sequences:
        runs = [track(STILL, number, arguments) for number in range(arguments.runs)]
        put(arguments, "Standing still", still_table(STILL, runs))
    if arguments.stress:
        results = run_stress(lambda: make_odometry(OdometryConfig()))
        put(arguments, "Stress", stress_table(results))
    if arguments.memory:
        report_memory(arguments)
    if arguments.dpvo:
        report = script(
            "odometry_dpvo.py", arguments, "dpvo", "--source", kitchen(arguments), "--frames", arguments.dpvo
        )
        put(arguments, "dpvo without its weights: time only", dpvo_tables(report))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*MOVING, STILL]
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--runs", type=int, default=5, help="live runs of each sequence")
    parser.add_argument("--sequences", nargs="*", default=names, choices=names, help="sequences to run")
    parser.add_argument("--frames", type=int, default=0, help="frames of each sequence at most; 0 takes all")
    parser.add_argument("--stress", action="store_true", help="also run the simulated incidents")
    parser.add_argument("--memory", type=int, default=0, help="frames over which memory is watched; 0 leaves it out")
    parser.add_argument("--dpvo", type=int, default=0, help="frames that dpvo is timed on; 0 leaves it out")
    parser.add_argument("--work", type=Path, default=Path("out/odometry"), help="folder for figures and paths")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    parser.add_argument("--plots", type=Path, help="folder for the pictures")
    return parser.parse_args()


def kitchen(arguments: argparse.Namespace) -> Path:
    """The sequence in VGA."""
    return arguments.data / "7scenes_redkitchen"


def measure_sequence(name: str, arguments: argparse.Namespace) -> dict:
    """Live runs and plain KLT in turn, so that both meet the same machine, and one repeatable run."""
    live, plain = [], []
    for number in range(arguments.runs):
        live.append(track(name, number, arguments))
        options = [arguments.data / name, f"--last={last_frame(name, arguments)}"]
        plain.append(script("plain_klt.py", arguments, f"{name}_plain{number}", *options))
    return {"live": live, "repeatable": track(name, None, arguments), "plain": plain}


def track(name: str, number: int | None, arguments: argparse.Namespace) -> dict:
    """``visloc track`` on one sequence: live with a number, otherwise repeatable."""
    stem = arguments.work / f"{name}_{'repeatable' if number is None else f'live{number}'}"
    options = [f"--last={last_frame(name, arguments)}", "--output", f"{stem}.tum", "--json", f"{stem}.json"]
    command = [sys.executable, "-m", "visloc_ros.apps.cli", "track", str(arguments.data / name), *options]
    subprocess.run(command if number is None else [*command, "--live"], check=True)
    return read(Path(f"{stem}.json")) | {"path": f"{stem}.tum"}


def bench(arguments: argparse.Namespace) -> dict:
    """``visloc bench odometry`` on the sequence in VGA, as the reference's benchmark is called."""
    path = arguments.work / "bench.json"
    options = ["--source", str(kitchen(arguments)), "--fps", "15", "--max-frames", "100", "--live", "--json", str(path)]
    subprocess.run([sys.executable, "-m", "visloc_ros.apps.cli", "bench", "odometry", *options], check=True)
    return read(path)


def last_frame(name: str, arguments: argparse.Namespace) -> int:
    """Index of the last frame taken; -1 takes all."""
    last = MOVING.get(name, -1)
    return min(last, arguments.frames - 1) if arguments.frames and last >= 0 else last


def script(file: str, arguments: argparse.Namespace, name: str, *options: object) -> dict:
    """Another benchmark in a process of its own; gives the figures that it wrote."""
    path = arguments.work / f"{name}.json"
    subprocess.run([sys.executable, BENCHMARKS / file, *map(str, options), "--json", path], check=True)
    return read(path)


def read(path: Path) -> dict:
    """Figures that a run wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def put(arguments: argparse.Namespace, title: str, body: str) -> None:
    """Print a section, and write it where a results file is named."""
    print(f"\n{title}\n\n{body}")
    if arguments.markdown:
        put_section(arguments.markdown, title, f"{provenance(here_and_now())}\n\n{body}")


def report_sequences(arguments: argparse.Namespace, reports: dict[str, dict]) -> None:
    """Tables and pictures of the moving sequences."""
    put(arguments, "Real sequences", sequence_tables(reports))
    put(arguments, "Beside the peers", peers_table(reports))
    if kitchen(arguments).name in reports:
        put(arguments, "The reference's table", bench_table(bench(arguments)))
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        write_paths(arguments.plots / "odometry_paths.png", arguments.data, reports)
        write_latencies(arguments.plots / "odometry_latency.png", reports)


def report_memory(arguments: argparse.Namespace) -> None:
    """Memory over a real sequence and over the simulated walk, each played forth and back."""
    length = ["--frames", arguments.memory]
    curves = [
        script("odometry_memory.py", arguments, "memory_real", *length, "--source", arguments.data / "euroc_mh05"),
        script("odometry_memory.py", arguments, "memory_simulated", *length),
    ]
    put(arguments, "Memory", memory_table(curves))
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
        write_memory(arguments.plots / "odometry_memory.png", curves)


if __name__ == "__main__":
    main()
